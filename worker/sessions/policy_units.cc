#include "worker/sessions/policy_units.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/hyperparameters.h"
#include "worker/executor/policy_attention.h"
#include "worker/executor/rotation.h"
#include "worker/executor/unit_summaries.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();
// Query rows that one member of a team takes at once.
constexpr int64_t kRowsAtOnce = 16;
// A session knows no prompt.
constexpr int64_t kPromptLen = 0;

// A session's unit as a model of one layer and one unit.
Hyperparameters HyperOf(const SessionShape& shape) {
  Hyperparameters hyper;
  hyper.num_layers = 1;
  hyper.num_kv_heads = 1;
  hyper.num_heads = shape.heads_per_kv_head;
  hyper.head_dim = shape.head_dim;
  return hyper;
}

// What the executor's code reads and changes; `memory` moves in, and out again
// with TakeNotes.
UnitKv KvOf(const SessionPart& part, const SessionPart::Unit& unit,
            UnitNotes memory) {
  UnitKv kv;
  kv.policy = unit.share.policy;
  kv.layout = part.shape().layout();
  kv.blocks = unit.blocks;
  kv.folded_end = memory.folded_end;
  kv.folded_sum = std::move(memory.folded_sum);
  kv.page_bounds = std::move(memory.page_bounds);
  return kv;
}
UnitNotes TakeNotes(UnitKv kv) {
  return {kv.folded_end, std::move(kv.folded_sum), std::move(kv.page_bounds)};
}

// Rows [first, end) of a request that see consecutive positions.
struct RowRun {
  size_t unit = 0;  // of the request
  int64_t first = 0;
  int64_t end = 0;
};

class PolicyUnitsCall {
 public:
  PolicyUnitsCall(SessionPart& part, const AttendPartRequest& request,
                  const Kernels& kernels, AttendPartResult* result)
      : part_(part),
        request_(request),
        kernels_(kernels),
        hyper_(HyperOf(part.shape())),
        rotations_(hyper_.rope, kernels),
        result_(*result) {}
  // Bounds of pages may be many megabytes, so they were lent, not copied.
  ~PolicyUnitsCall() {
    for (const auto& [held, i] : lent_) {
      part_.memory(held).page_bounds = std::move(kvs_[i].page_bounds);
    }
  }
  PolicyUnitsCall(const PolicyUnitsCall&) = delete;
  PolicyUnitsCall& operator=(const PolicyUnitsCall&) = delete;

  absl::Status Run(ThreadTeam& team) {
    HEADWISE_RETURN_IF_ERROR(Begin());
    if (runs_.empty()) return absl::OkStatus();
    std::atomic<size_t> next_unit = 0;
    std::atomic<size_t> next_run = 0;
    team.Run([&](int) {
      UnitSummarizer summarizer(kernels_, hyper_);
      for (size_t i = next_unit++; i < kvs_.size(); i = next_unit++) {
        FoldMeans(i, summarizer);
      }
      team.Barrier();
      PolicyAttention attention(kernels_, hyper_, rotations_);
      for (size_t i = next_run++; i < runs_.size(); i = next_run++) {
        Attend(runs_[i], attention);
      }
    });
    return absl::OkStatus();
  }

 private:
  int64_t num_rows() const {
    return static_cast<int64_t>(request_.visible_end.size());
  }
  // The position that the row asks from: it sees that one too.
  int64_t PositionOf(int64_t row) const {
    return request_.visible_end[row] - 1;
  }

  absl::Status Begin() {
    const int64_t g = part_.shape().heads_per_kv_head;
    kvs_.resize(request_.units.size());
    means_.resize(request_.units.size());
    int64_t last_kv_head = -1;
    for (size_t i = 0; i < request_.units.size(); ++i) {
      const int64_t kv_head = request_.units[i].kv_head;
      const SessionPart::Unit& unit = *part_.FindUnit(kv_head);
      if (!AttendsByPolicy(unit.share.policy)) continue;
      if (kv_head <= last_kv_head) {
        return absl::InvalidArgumentError(absl::StrCat(
            "kv_head ", kv_head, " after ", last_kv_head, "; must ascend"));
      }
      last_kv_head = kv_head;
      if (num_rows() == 0 || request_.visible_end.back() == 0) continue;
      HEADWISE_RETURN_IF_ERROR(CheckSeen(unit));
      const auto held = static_cast<size_t>(&unit - part_.units().data());
      lent_.emplace_back(held, i);
      std::vector<float> bounds = std::move(part_.memory(held).page_bounds);
      kvs_[i] = KvOf(part_, unit, unit.memory);
      kvs_[i].page_bounds = std::move(bounds);
      RangePartial& partial = result_.units[i].parts.emplace_back();
      partial.out.resize(num_rows() * g * part_.shape().head_dim);
      partial.lse.assign(num_rows() * g, kEmpty);
      AddRuns(i);
    }
    return absl::OkStatus();
  }

  // All that some row sees is here.
  absl::Status CheckSeen(const SessionPart::Unit& unit) const {
    const UnitPolicy& policy = unit.share.policy;
    const int64_t last_end = request_.visible_end.back();
    if (policy.kind != PolicyKind::kRazor) {
      return SessionPart::CheckHeld(unit, 0, last_end);
    }
    const int64_t first_end = *std::upper_bound(
        request_.visible_end.begin(), request_.visible_end.end(), int64_t{0});
    HEADWISE_RETURN_IF_ERROR(
        SessionPart::CheckHeld(unit, 0, std::min(policy.num_sinks, last_end)));
    // What is folded already can't be told from the rest again.
    const int64_t begin = std::max<int64_t>(first_end - policy.window, 0);
    if (begin < unit.memory.folded_end && !unit.memory.folded_sum.empty() &&
        unit.memory.folded_end > policy.num_sinks) {
      return absl::FailedPreconditionError(
          absl::StrCat("position ", begin, " of kv_head ", unit.share.kv_head,
                       " is not held any more"));
    }
    const int64_t unfolded = std::max(policy.num_sinks, unit.memory.folded_end);
    return SessionPart::CheckHeld(unit, std::min(unfolded, last_end), last_end);
  }

  void AddRuns(size_t unit) {
    int64_t row = 0;
    while (row < num_rows() && PositionOf(row) < 0) ++row;  // see nothing
    while (row < num_rows()) {
      int64_t end = row + 1;
      while (end < num_rows() && end - row < kRowsAtOnce &&
             PositionOf(end) == PositionOf(end - 1) + 1) {
        ++end;
      }
      runs_.push_back({unit, row, end});
      row = end;
    }
  }

  // Means of what each row's unit has dropped. Positions are folded in order
  // and once, however many rows ask from each.
  void FoldMeans(size_t unit, UnitSummarizer& summarizer) {
    UnitKv& kv = kvs_[unit];
    if (kv.policy.kind != PolicyKind::kRazor || kv.blocks.empty()) return;
    const int64_t size = 2 * part_.shape().head_dim;
    std::vector<float>& means = means_[unit];
    means.resize(num_rows() * size);
    for (int64_t row = 0; row < num_rows(); ++row) {
      float* to = means.data() + row * size;
      if (row > 0 && PositionOf(row) == PositionOf(row - 1)) {
        std::copy_n(to - size, size, to);
        continue;
      }
      if (PositionOf(row) < 0) continue;
      StoredRows rows;
      rows.kv = &kv;
      rows.prompt_len = kPromptLen;
      rows.first_position = PositionOf(row);
      rows.num_rows = 1;
      rows.razor_means = to;
      summarizer.Add(rows);
    }
  }

  void Attend(const RowRun& run, PolicyAttention& attention) {
    const int64_t g = part_.shape().heads_per_kv_head;
    const int64_t dim = part_.shape().head_dim;
    RangePartial& partial = result_.units[run.unit].parts[0];
    UnitRows rows;
    rows.kv = &kvs_[run.unit];
    rows.prompt_len = kPromptLen;
    rows.first_position = PositionOf(run.first);
    rows.num_rows = run.end - run.first;
    rows.queries =
        request_.units[run.unit].queries.data() + run.first * g * dim;
    rows.razor_means = means_[run.unit].data() + run.first * 2 * dim;
    rows.out = partial.out.data() + run.first * g * dim;
    attention.Attend(rows);
    std::copy_n(attention.lse(), rows.num_rows * g,
                partial.lse.data() + run.first * g);
  }

  SessionPart& part_;
  const AttendPartRequest& request_;
  const Kernels& kernels_;
  const Hyperparameters hyper_;
  const RotationTable rotations_;  // of no positions: none are renumbered
  AttendPartResult& result_;
  std::vector<UnitKv> kvs_;  // by unit of the request
  // Units of the part whose bounds are in kvs_, and where.
  std::vector<std::pair<size_t, size_t>> lent_;
  std::vector<std::vector<float>> means_;  // kRazor: [rows][2][head_dim]
  std::vector<RowRun> runs_;
};

// Where what a unit remembers begins and ends once `length` are stored.
struct FoldRange {
  int64_t begin = 0;
  int64_t end = 0;
};
FoldRange ToRemember(const SessionPart::Unit& unit, int64_t length,
                     int64_t head_dim) {
  const UnitNotes& memory = unit.memory;
  switch (unit.share.policy.kind) {
    case PolicyKind::kRazor:
      return {std::max(memory.folded_end, unit.share.policy.num_sinks),
              KeptAt(unit.share, length).kept_begin};
    case PolicyKind::kQuest: {
      const auto pages =
          static_cast<int64_t>(memory.page_bounds.size()) / (2 * head_dim);
      return {pages * KvLayout::kPositions,
              length / KvLayout::kPositions * KvLayout::kPositions};
    }
    default:
      return {};
  }
}

}  // namespace

absl::Status Remember(SessionPart& part, int64_t length, const Kernels& kernels,
                      ThreadTeam& team) {
  std::vector<size_t> units;
  for (size_t i = 0; i < part.units().size(); ++i) {
    const SessionPart::Unit& unit = part.units()[i];
    const FoldRange range = ToRemember(unit, length, part.shape().head_dim);
    if (range.begin >= range.end) continue;
    HEADWISE_RETURN_IF_ERROR(
        SessionPart::CheckHeld(unit, range.begin, range.end));
    units.push_back(i);
  }
  if (units.empty()) return absl::OkStatus();
  const Hyperparameters hyper = HyperOf(part.shape());
  std::atomic<size_t> next = 0;
  team.Run([&](int) {
    UnitSummarizer summarizer(kernels, hyper);
    for (size_t i = next++; i < units.size(); i = next++) {
      const SessionPart::Unit& unit = part.units()[units[i]];
      UnitNotes& memory = part.memory(units[i]);
      UnitKv kv = KvOf(part, unit, std::move(memory));
      StoredRows rows;
      rows.kv = &kv;
      rows.prompt_len = kPromptLen;
      // Of no rows: what the next one, at first_position, would not see.
      rows.first_position =
          kv.policy.kind == PolicyKind::kRazor
              ? KeptAt(unit.share, length).kept_begin + kv.policy.window - 1
              : length;
      summarizer.Add(rows);
      memory = TakeNotes(std::move(kv));
    }
  });
  return absl::OkStatus();
}

absl::Status AttendPolicyUnits(SessionPart& part,
                               const AttendPartRequest& request,
                               const Kernels& kernels, ThreadTeam& team,
                               AttendPartResult* result) {
  return PolicyUnitsCall(part, request, kernels, result).Run(team);
}

absl::StatusOr<std::string> ExportSums(const SessionPart& part, int64_t kv_head,
                                       int64_t length) {
  const SessionPart::Unit* unit = part.FindUnit(kv_head);
  if (unit == nullptr || !HasSums(unit->share, length) ||
      unit->memory.folded_end != KeptAt(unit->share, length).kept_begin) {
    return absl::InvalidArgumentError(absl::StrCat(
        "kv_head ", kv_head, " has no sums of dropped positions at ", length));
  }
  const UnitNotes& memory = unit->memory;
  std::string bytes(reinterpret_cast<const char*>(&memory.folded_end),
                    sizeof(memory.folded_end));
  bytes.append(reinterpret_cast<const char*>(memory.folded_sum.data()),
               memory.folded_sum.size() * sizeof(double));
  return bytes;
}

absl::Status ImportSums(SessionPart& part, int64_t kv_head,
                        const std::string& bytes) {
  const SessionPart::Unit* unit = part.FindUnit(kv_head);
  const int64_t size = SumsBytes(part.shape().head_dim);
  if (unit == nullptr || unit->share.policy.kind != PolicyKind::kRazor ||
      static_cast<int64_t>(bytes.size()) != size) {
    return absl::InvalidArgumentError(
        absl::StrCat("sums of kv_head ", kv_head, ": ", bytes.size(),
                     " bytes; a unit of "
                     "policy razor on this worker has ",
                     size));
  }
  UnitNotes memory;
  std::memcpy(&memory.folded_end, bytes.data(), sizeof(memory.folded_end));
  memory.folded_sum.resize(2 * part.shape().head_dim);
  std::memcpy(memory.folded_sum.data(), bytes.data() + sizeof(int64_t),
              memory.folded_sum.size() * sizeof(double));
  const bool are_finite =
      std::all_of(memory.folded_sum.begin(), memory.folded_sum.end(),
                  [](double sum) { return std::isfinite(sum); });
  if (memory.folded_end <= unit->share.policy.num_sinks ||
      memory.folded_end > part.shape().max_positions || !are_finite) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sums of kv_head ", kv_head, ": end ", memory.folded_end, ", allowed ",
        unit->share.policy.num_sinks + 1, " to ", part.shape().max_positions,
        are_finite ? "" : "; a sum is not finite"));
  }
  part.memory(static_cast<size_t>(unit - part.units().data())) =
      std::move(memory);
  return absl::OkStatus();
}

}  // namespace headwise
