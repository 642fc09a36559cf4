#include "worker/memory_parts/memory_part.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "worker/memory_parts/memory_bytes.h"
#include "worker/neural_memory/memory_team.h"

namespace headwise {
namespace {

// Calls work(head, scratch) for every head, on all threads of the team.
template <typename Work>
void ForEachHead(int64_t num_heads, const MemoryTools& tools, Work work) {
  std::atomic<int64_t> next = 0;
  tools.team.Run([&](int member) {
    for (int64_t head = next++; head < num_heads; head = next++) {
      work(head, tools.scratches[member]);
    }
  });
}

absl::Status CheckLength(const char* name, size_t got, int64_t expected) {
  if (static_cast<int64_t>(got) == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " has ", got, " floats, must have ", expected));
}

absl::Status CheckNumRows(int64_t num_rows) {
  if (num_rows >= 1 && num_rows <= kMaxMemoryRows) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("num_rows: ", num_rows, ", allowed 1 to ", kMaxMemoryRows));
}

}  // namespace

MemoryPart::MemoryPart(const MemoryShare& share)
    : share_(share),
      heads_(static_cast<size_t>(share.num_heads)),
      next_heads_(static_cast<size_t>(share.num_heads)) {}

int64_t MemoryPart::reserved_bytes() const {
  return share_.num_heads * MemoryReservedBytes(share_.spec);
}

absl::Status MemoryPart::CheckComplete() const {
  for (int64_t head = 0; head < share_.num_heads; ++head) {
    if (heads_[head].has_value()) continue;
    return absl::InternalError(
        absl::StrCat("head ", share_.first_head + head, " has not come yet"));
  }
  return absl::OkStatus();
}

absl::Status MemoryPart::Import(const ImportMemoryRequest& request) {
  const int64_t head = request.head - share_.first_head;
  if (head < 0 || head >= share_.num_heads || last_tried_ > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "head ", request.head, " can't be set: heads ", share_.first_head,
        " to ", share_.first_head + share_.num_heads - 1,
        " are here, and may come before the first write"));
  }
  HEADWISE_ASSIGN_OR_RETURN(MemoryHead loaded,
                            LoadMemoryHead(share_.spec, request.data));
  if (loaded.num_tokens() != request.num_tokens) {
    return absl::DataLossError(
        absl::StrCat("head ", request.head, " has ", loaded.num_tokens(),
                     " tokens, the memory ", request.num_tokens));
  }
  heads_[head] = std::move(loaded);
  return absl::OkStatus();
}

absl::StatusOr<MemoryPart::Heads*> MemoryPart::StateOf(int64_t version) {
  HEADWISE_RETURN_IF_ERROR(CheckComplete());
  if (next_version_ == version) {
    heads_ = std::exchange(next_heads_, Heads(heads_.size()));
    version_ = version;
    next_version_ = std::nullopt;
  }
  if (version_ == version) return &heads_;
  return absl::FailedPreconditionError(absl::StrCat(
      "the memory has gone on from version ", version, " to ", version_));
}

absl::Status MemoryPart::CheckTensors(const WriteMemoryRequest& request) const {
  HEADWISE_RETURN_IF_ERROR(CheckNumRows(request.num_rows));
  const int64_t gates = request.num_rows * share_.num_heads;
  const int64_t floats = gates * share_.spec.head_dim;
  HEADWISE_RETURN_IF_ERROR(CheckLength("keys", request.keys.size(), floats));
  HEADWISE_RETURN_IF_ERROR(
      CheckLength("values", request.values.size(), floats));
  if (!request.queries.empty()) {
    HEADWISE_RETURN_IF_ERROR(
        CheckLength("queries", request.queries.size(), floats));
  }
  HEADWISE_RETURN_IF_ERROR(CheckLength("theta", request.theta.size(), gates));
  HEADWISE_RETURN_IF_ERROR(CheckLength("eta", request.eta.size(), gates));
  return CheckLength("alpha", request.alpha.size(), gates);
}

absl::StatusOr<WriteMemoryResult> MemoryPart::Write(
    const WriteMemoryRequest& request, const MemoryTools& tools) {
  HEADWISE_RETURN_IF_ERROR(CheckTensors(request));
  // A write that its coordinator has given up may come late: it must not take
  // the place of a later one.
  if (request.next_version <= last_tried_) {
    return absl::AbortedError(absl::StrCat("version ", request.next_version,
                                           " comes after version ",
                                           last_tried_));
  }
  HEADWISE_ASSIGN_OR_RETURN(const Heads* const heads, StateOf(request.version));
  last_tried_ = request.next_version;
  next_version_ = std::nullopt;
  const int64_t head_dim = share_.spec.head_dim;
  const bool reads = !request.queries.empty();
  WriteMemoryResult result;
  result.outputs.resize(request.queries.size());
  result.surprise.resize(request.theta.size());
  ForEachHead(share_.num_heads, tools,
              [&](int64_t h, MemoryScratch&) { next_heads_[h] = (*heads)[h]; });
  std::vector<MemoryHead*> written;
  std::vector<MemoryRows> rows;
  for (int64_t h = 0; h < share_.num_heads; ++h) {
    written.push_back(&*next_heads_[h]);
    MemoryRows& of_head = rows.emplace_back();
    of_head.num_rows = request.num_rows;
    of_head.keys = request.keys.data() + h * head_dim;
    of_head.values = request.values.data() + h * head_dim;
    of_head.queries = reads ? request.queries.data() + h * head_dim : nullptr;
    of_head.row_stride = share_.num_heads * head_dim;
    of_head.theta = request.theta.data() + h;
    of_head.eta = request.eta.data() + h;
    of_head.alpha = request.alpha.data() + h;
    of_head.gate_stride = share_.num_heads;
    of_head.out = reads ? result.outputs.data() + h * head_dim : nullptr;
    of_head.surprise = result.surprise.data() + h;
  }
  std::vector<absl::Status> statuses(heads->size());
  WriteHeads({written, rows, absl::MakeSpan(statuses)}, tools.kernels,
             tools.team, absl::MakeSpan(tools.scratches));
  for (int64_t h = 0; h < share_.num_heads; ++h) {
    if (statuses[h].ok()) continue;
    return absl::Status(statuses[h].code(),
                        absl::StrCat("head ", share_.first_head + h, ": ",
                                     statuses[h].message()));
  }
  next_version_ = request.next_version;
  return result;
}

absl::StatusOr<std::vector<float>> MemoryPart::Read(
    const ReadMemoryRequest& request, const MemoryTools& tools) {
  HEADWISE_RETURN_IF_ERROR(CheckNumRows(request.num_rows));
  const int64_t head_dim = share_.spec.head_dim;
  HEADWISE_RETURN_IF_ERROR(
      CheckLength("queries", request.queries.size(),
                  request.num_rows * share_.num_heads * head_dim));
  HEADWISE_ASSIGN_OR_RETURN(const Heads* const heads, StateOf(request.version));
  std::vector<float> outputs(request.queries.size());
  ForEachHead(share_.num_heads, tools, [&](int64_t h, MemoryScratch& scratch) {
    (*heads)[h]->Read(request.queries.data() + h * head_dim, request.num_rows,
                      share_.num_heads * head_dim,
                      outputs.data() + h * head_dim, tools.kernels, scratch);
  });
  return outputs;
}

absl::StatusOr<std::string> MemoryPart::Export(int64_t head, int64_t version) {
  HEADWISE_ASSIGN_OR_RETURN(const Heads* const heads, StateOf(version));
  const int64_t h = head - share_.first_head;
  if (h < 0 || h >= share_.num_heads) {
    return absl::InvalidArgumentError(
        absl::StrCat("head ", head, " is not of this worker"));
  }
  return SaveMemoryHead(*(*heads)[h]);
}

absl::StatusOr<MemoryPart> MemoryPart::Fork(int64_t version) {
  HEADWISE_ASSIGN_OR_RETURN(const Heads* const heads, StateOf(version));
  MemoryPart fork(share_);
  fork.heads_ = *heads;
  return fork;
}

}  // namespace headwise
