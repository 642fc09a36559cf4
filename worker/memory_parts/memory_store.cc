#include "worker/memory_parts/memory_store.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

absl::Status CheckShare(const MemoryShare& share) {
  HEADWISE_RETURN_IF_ERROR(CheckMemorySpec(share.spec));
  if (share.first_head >= 0 && share.num_heads >= 1 &&
      share.num_heads <= kMaxMemoryHeads &&
      share.first_head <= kMaxMemoryHeads - share.num_heads) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("share: ", share.num_heads, " heads from ", share.first_head,
                   " on; a memory has 1 to ", kMaxMemoryHeads));
}

}  // namespace

MemoryStore::MemoryStore(const MemoryStoreOptions& options,
                         const MemoryKernels& kernels, ThreadTeam& team,
                         const Clock& clock)
    : options_(options),
      scratches_(static_cast<size_t>(team.num_threads())),
      tools_{kernels, team, scratches_},
      parts_({"memory", "memories", options.lease, options.max_memories},
             clock) {}

int64_t MemoryStore::reserved_bytes() const {
  return parts_.Sum(
      [](const MemoryPart& part) { return part.reserved_bytes(); });
}

absl::Status MemoryStore::CheckFree(int64_t bytes) const {
  const int64_t available = options_.capacity_bytes - reserved_bytes();
  if (bytes <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the memory needs ", bytes, " bytes, ", std::max<int64_t>(available, 0),
      " of ", options_.capacity_bytes, " are available"));
}

absl::StatusOr<int64_t> MemoryStore::Open(const OpenMemoryRequest& request) {
  HEADWISE_RETURN_IF_ERROR(parts_.CheckNew(request.memory_id));
  HEADWISE_RETURN_IF_ERROR(CheckShare(request.share));
  auto part = std::make_unique<MemoryPart>(request.share);
  const int64_t bytes = part->reserved_bytes();
  HEADWISE_RETURN_IF_ERROR(CheckFree(bytes));
  parts_.Add(request.memory_id, std::move(part));
  return bytes;
}

absl::Status MemoryStore::Import(const ImportMemoryRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart* const part,
                            parts_.Find(request.memory_id));
  return part->Import(request);
}

absl::StatusOr<WriteMemoryResult> MemoryStore::Write(
    const WriteMemoryRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart* const part,
                            parts_.Find(request.memory_id));
  return part->Write(request, tools_);
}

absl::StatusOr<std::vector<float>> MemoryStore::Read(
    const ReadMemoryRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart* const part,
                            parts_.Find(request.memory_id));
  return part->Read(request, tools_);
}

absl::Status MemoryStore::DropOpenRows(const DropOpenRowsRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart* const part,
                            parts_.Find(request.memory_id));
  return part->DropOpenRows(request.version, request.next_version);
}

absl::StatusOr<int64_t> MemoryStore::Fork(const std::string& memory_id,
                                          const std::string& fork_id,
                                          int64_t version) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart* const part, parts_.Find(memory_id));
  HEADWISE_RETURN_IF_ERROR(parts_.CheckNew(fork_id));
  const int64_t bytes = part->reserved_bytes();
  HEADWISE_RETURN_IF_ERROR(CheckFree(bytes));
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart fork, part->Fork(version));
  parts_.Add(fork_id, std::make_unique<MemoryPart>(std::move(fork)));
  return bytes;
}

absl::StatusOr<std::string> MemoryStore::Export(const std::string& memory_id,
                                                int64_t head, int64_t version) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryPart* const part, parts_.Find(memory_id));
  return part->Export(head, version);
}

absl::Status MemoryStore::Delete(const std::string& memory_id) {
  return parts_.Delete(memory_id);
}

std::vector<std::string> MemoryStore::Renew(
    const std::vector<std::string>& memory_ids) {
  return parts_.Renew(memory_ids);
}

}  // namespace headwise
