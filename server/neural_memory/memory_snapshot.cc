#include "server/neural_memory/memory_snapshot.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/leases/gather.h"
#include "worker/memory_parts/memory_bytes.h"

namespace headwise {
namespace {

// More than can ever be written; counting goes on from it.
constexpr int64_t kMaxRestoredTokens = int64_t{1} << 53;

}  // namespace

MemorySnapshotReader::MemorySnapshotReader(NeuralMemories& memories,
                                           const Caller& caller,
                                           MemoryUse memory,
                                           MemoryChange change)
    : memories_(memories),
      caller_(caller),
      memory_(std::move(memory)),
      change_(std::move(change)),
      state_(memory_->state()) {}

absl::StatusOr<std::unique_ptr<MemorySnapshotReader>>
MemorySnapshotReader::Open(NeuralMemories& memories, const Caller& caller,
                           const std::string& memory_id) {
  HEADWISE_ASSIGN_OR_RETURN(MemoryUse memory, memories.Use(caller, memory_id));
  HEADWISE_ASSIGN_OR_RETURN(MemoryChange change, MemoryChange::Begin(*memory));
  return std::unique_ptr<MemorySnapshotReader>(new MemorySnapshotReader(
      memories, caller, std::move(memory), std::move(change)));
}

absl::StatusOr<std::string> MemorySnapshotReader::Export() const {
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller_, memories_.clock()));
  // Workers hold heads in order.
  const auto holder =
      std::find_if(memory_->workers().begin(), memory_->workers().end(),
                   [this](const MemoryWorker& worker) {
                     return head_ < worker.first_head + worker.num_heads;
                   });
  Gather<std::string> answer(1);
  holder->link->Export(memory_->id(), head_, state_.version, timeout,
                       answer.Slot(0));
  absl::StatusOr<std::string>& bytes = answer.Wait()[0];
  if (!bytes.ok()) return memory_->Explain(*holder, bytes.status());
  return std::move(bytes);
}

absl::StatusOr<std::optional<MemoryPiece>> MemorySnapshotReader::Next() {
  if (head_ == config().num_heads) return std::nullopt;
  if (offset_ == 0) {
    HEADWISE_ASSIGN_OR_RETURN(bytes_, Export());
  }
  const auto head_bytes = static_cast<int64_t>(bytes_.size());
  const int64_t count = std::min(kMaxMemoryPieceBytes, head_bytes - offset_);
  MemoryPiece piece = {head_, offset_, head_bytes, ""};
  piece.data = count == head_bytes ? std::move(bytes_)
                                   : bytes_.substr(static_cast<size_t>(offset_),
                                                   static_cast<size_t>(count));
  offset_ += count;
  if (offset_ == head_bytes) {
    ++head_;
    offset_ = 0;
  }
  return piece;
}

MemorySnapshotWriter::MemorySnapshotWriter(NeuralMemories& memories,
                                           const Caller& caller,
                                           std::shared_ptr<NeuralMemory> memory,
                                           int64_t num_tokens, bool frozen)
    : memories_(memories),
      caller_(caller),
      memory_(std::move(memory)),
      in_use_(memory_, memories.clock()),
      num_tokens_(num_tokens),
      frozen_(frozen) {}

absl::StatusOr<std::unique_ptr<MemorySnapshotWriter>>
MemorySnapshotWriter::Open(NeuralMemories& memories, const Caller& caller,
                           const MemoryConfig& config, int64_t num_tokens,
                           bool frozen, const std::string& session_id) {
  if (num_tokens < 0 || num_tokens > kMaxRestoredTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_tokens: ", num_tokens, ", allowed 0 to ", kMaxRestoredTokens));
  }
  HEADWISE_ASSIGN_OR_RETURN(std::shared_ptr<NeuralMemory> memory,
                            memories.OpenHidden(caller, config, session_id));
  return std::unique_ptr<MemorySnapshotWriter>(new MemorySnapshotWriter(
      memories, caller, std::move(memory), num_tokens, frozen));
}

MemorySnapshotWriter::~MemorySnapshotWriter() {
  if (!published_) memories_.Drop(memory_);
}

absl::Status MemorySnapshotWriter::Add(const MemoryPiece& piece) {
  const MemoryConfig& config = memory_->config();
  const int64_t max_bytes = MaxSavedMemoryBytes(config.spec);
  if (bytes_.empty()) head_bytes_ = piece.head_bytes;
  const auto offset = static_cast<int64_t>(bytes_.size());
  const auto size = static_cast<int64_t>(piece.data.size());
  if (head_ == config.num_heads || piece.head != head_ ||
      piece.offset != offset || piece.head_bytes != head_bytes_ ||
      head_bytes_ > max_bytes || size < 1 || size > head_bytes_ - offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("piece: ", size, " bytes at offset ", piece.offset, " of ",
                     piece.head_bytes, " of head ", piece.head,
                     "; expected offset ", offset, " of at most ", max_bytes,
                     " of head ", head_, ", of ", config.num_heads, " heads"));
  }
  bytes_ += piece.data;
  if (offset + size < head_bytes_) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(memories_.Import(
      caller_, *memory_,
      {memory_->id(), head_, num_tokens_, std::exchange(bytes_, "")}));
  ++head_;
  return absl::OkStatus();
}

absl::StatusOr<MemoryInfo> MemorySnapshotWriter::Finish() {
  if (head_ < memory_->config().num_heads) {
    return absl::DataLossError(
        absl::StrCat("the snapshot ends at byte ", bytes_.size(), " of head ",
                     head_, ", of ", memory_->config().num_heads, " heads"));
  }
  memory_->Begin(num_tokens_, frozen_, ChunkLog());
  published_ = true;
  memories_.Publish(memory_);
  return memory_->info();
}

}  // namespace headwise
