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

// Rows times weights of all heads up to which one thread works alone, about
// 0.15 ms: others take a good part of that to wake, and many times as long on
// cores that are not theirs alone.
constexpr int64_t kMaxAlone = int64_t{1} << 19;

// Calls run(team): all threads, or the calling one alone if there is little to
// do.
template <typename Run>
void WithTeam(const MemoryShare& share, int64_t num_rows,
              const MemoryTools& tools, Run run) {
  if (num_rows * share.num_heads * share.spec.num_weights() > kMaxAlone) {
    return run(tools.team);
  }
  ThreadTeam alone(1, {});
  run(alone);
}

// Calls work(head, scratch) for every head, on all threads of the team.
template <typename Work>
void ForEachHead(int64_t num_heads, const MemoryTools& tools, ThreadTeam& team,
                 Work work) {
  std::atomic<int64_t> next = 0;
  team.Run([&](int member) {
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

// The heads in the state of `version` for as long as this lives. Requires
// CheckKnown.
class MemoryPart::InState {
 public:
  InState(MemoryPart& part, int64_t version)
      : part_(part),
        is_earlier_(part.next_version_.has_value() &&
                    version == part.version_) {
    // It was named, so it counts.
    if (part.next_version_ == version) {
      part.version_ = version;
      part.next_version_ = std::nullopt;
    }
    if (is_earlier_) part_.SwapHeads();
  }
  ~InState() {
    if (is_earlier_) part_.SwapHeads();
  }
  InState(const InState&) = delete;
  InState& operator=(const InState&) = delete;

 private:
  MemoryPart& part_;
  const bool is_earlier_;
};

MemoryPart::MemoryPart(const MemoryShare& share)
    : share_(share),
      heads_(static_cast<size_t>(share.num_heads)),
      undos_(static_cast<size_t>(share.num_heads)) {}

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

absl::Status MemoryPart::CheckKnown(int64_t version) const {
  HEADWISE_RETURN_IF_ERROR(CheckComplete());
  if (version == version_ || next_version_ == version) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the memory has gone on from version ", version, " to ", version_));
}

void MemoryPart::SwapHeads() {
  for (int64_t h = 0; h < share_.num_heads; ++h) heads_[h]->Swap(undos_[h]);
}

absl::Status MemoryPart::Begin(int64_t version, int64_t next_version) {
  // A write that its coordinator has given up may come late: it must not take
  // the place of a later one.
  if (next_version <= last_tried_) {
    return absl::AbortedError(absl::StrCat(
        "version ", next_version, " comes after version ", last_tried_));
  }
  HEADWISE_RETURN_IF_ERROR(CheckKnown(version));
  if (next_version_.has_value() && version == version_) SwapHeads();
  version_ = version;
  next_version_ = std::nullopt;
  last_tried_ = next_version;
  for (int64_t h = 0; h < share_.num_heads; ++h) heads_[h]->Mark(undos_[h]);
  return absl::OkStatus();
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
  HEADWISE_RETURN_IF_ERROR(Begin(request.version, request.next_version));
  const int64_t head_dim = share_.spec.head_dim;
  const bool reads = !request.queries.empty();
  WriteMemoryResult result;
  result.outputs.resize(request.queries.size());
  result.surprise.resize(request.theta.size());
  std::vector<MemoryHead*> written;
  std::vector<MemoryRows> rows;
  for (int64_t h = 0; h < share_.num_heads; ++h) {
    written.push_back(&*heads_[h]);
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
  std::vector<absl::Status> statuses(heads_.size());
  WithTeam(share_, request.num_rows, tools, [&](ThreadTeam& team) {
    WriteHeads(
        {written, rows, absl::MakeSpan(statuses), absl::MakeSpan(undos_)},
        tools.kernels, team, absl::MakeSpan(tools.scratches));
  });
  for (int64_t h = 0; h < share_.num_heads; ++h) {
    if (statuses[h].ok()) continue;
    SwapHeads();
    return absl::Status(statuses[h].code(),
                        absl::StrCat("head ", share_.first_head + h, ": ",
                                     statuses[h].message()));
  }
  next_version_ = request.next_version;
  return result;
}

absl::Status MemoryPart::DropOpenRows(int64_t version, int64_t next_version) {
  HEADWISE_RETURN_IF_ERROR(Begin(version, next_version));
  for (auto& head : heads_) head->DropOpenRows();
  next_version_ = next_version;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> MemoryPart::Read(
    const ReadMemoryRequest& request, const MemoryTools& tools) {
  HEADWISE_RETURN_IF_ERROR(CheckNumRows(request.num_rows));
  const int64_t head_dim = share_.spec.head_dim;
  HEADWISE_RETURN_IF_ERROR(
      CheckLength("queries", request.queries.size(),
                  request.num_rows * share_.num_heads * head_dim));
  HEADWISE_RETURN_IF_ERROR(CheckKnown(request.version));
  const InState state(*this, request.version);
  std::vector<float> outputs(request.queries.size());
  WithTeam(share_, request.num_rows, tools, [&](ThreadTeam& team) {
    ForEachHead(share_.num_heads, tools, team,
                [&](int64_t h, MemoryScratch& scratch) {
                  heads_[h]->Read(request.queries.data() + h * head_dim,
                                  request.num_rows, share_.num_heads * head_dim,
                                  outputs.data() + h * head_dim, tools.kernels,
                                  scratch);
                });
  });
  return outputs;
}

absl::StatusOr<std::string> MemoryPart::Export(int64_t head, int64_t version) {
  HEADWISE_RETURN_IF_ERROR(CheckKnown(version));
  const InState state(*this, version);
  const int64_t h = head - share_.first_head;
  if (h < 0 || h >= share_.num_heads) {
    return absl::InvalidArgumentError(
        absl::StrCat("head ", head, " is not of this worker"));
  }
  return SaveMemoryHead(*heads_[h]);
}

absl::StatusOr<MemoryPart> MemoryPart::Fork(int64_t version) {
  HEADWISE_RETURN_IF_ERROR(CheckKnown(version));
  const InState state(*this, version);
  MemoryPart fork(share_);
  fork.heads_ = heads_;
  return fork;
}

}  // namespace headwise
