#include "worker/sessions/probe_rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/sessions/range_plan.h"

namespace headwise {
namespace {

constexpr int64_t kScoreRows = 64;
constexpr int64_t kScorePositions = 256;

// What one member of the team finds, of all units.
struct Findings {
  std::vector<UnitProbe> units;
  std::vector<float> scores = std::vector<float>(kScoreRows * kScorePositions);
  std::vector<float> probs = std::vector<float>(kScorePositions);
};

class Prober {
 public:
  Prober(const SessionPart& part, const ProbePartRequest& request,
         const RangePlan& plan, const Kernels& kernels)
      : part_(part), request_(request), plan_(plan), kernels_(kernels) {}

  Findings Nothing() const {
    Findings findings;
    const int64_t rows = plan_.num_rows();
    for (const RangePlan::Unit& unit : plan_.units) {
      UnitProbe probe;
      probe.kv_head = unit.held->share.kv_head;
      probe.top.resize(rows * request_.num_top_keys);
      probe.mass.resize(rows * request_.num_segments());
      probe.entropy.resize(request_.entropy ? rows : 0);
      findings.units.push_back(std::move(probe));
    }
    return findings;
  }

  void Look(const RangeTask& task, Findings& findings) const {
    constexpr int64_t kBlock = KvLayout::kPositions;
    int64_t begin = task.begin;
    if (task.is_window) {
      // What lies before the first row's window may not be held.
      const int64_t seen = plan_.begin_of(task)[0];
      begin = std::max(begin, seen / kBlock * kBlock);
    }
    for (; begin < task.end; begin += kScorePositions) {
      const int64_t end = std::min(begin + kScorePositions, task.end);
      for (int64_t row = 0; row < plan_.num_rows(); row += kScoreRows) {
        LookAt(task, {begin, end}, row, findings);
      }
    }
  }

 private:
  struct Span {
    int64_t begin;
    int64_t end;
  };

  // Up to kScoreRows rows from `first_row` on, positions of `span`.
  void LookAt(const RangeTask& task, const Span& span, int64_t first_row,
              Findings& findings) const {
    const int64_t head_dim = part_.shape().head_dim;
    const ProbeUnit& unit = request_.units[task.unit];
    ScoresArgs args;
    args.layout = part_.shape().layout();
    args.blocks = plan_.units[task.unit].held->blocks.data();
    args.begin = span.begin;
    args.end = span.end;
    args.queries = unit.queries.queries.data() + first_row * head_dim;
    args.num_rows = std::min(kScoreRows, plan_.num_rows() - first_row);
    args.out = findings.scores.data();
    args.out_stride = kScorePositions;
    if (plan_.end_of(task)[first_row + args.num_rows - 1] <= span.begin) return;
    kernels_.scores(args);
    for (int64_t i = 0; i < args.num_rows; ++i) {
      const int64_t row = first_row + i;
      const float lse = unit.lse[row];
      Span seen = {span.begin, std::min(span.end, plan_.end_of(task)[row])};
      if (task.is_window) {
        seen.begin = std::max(seen.begin, plan_.begin_of(task)[row]);
      }
      if (seen.begin >= seen.end || lse == -INFINITY) continue;
      const float* scores = findings.scores.data() + i * kScorePositions +
                            (seen.begin - span.begin);
      kernels_.exp_below(scores, seen.end - seen.begin, lse,
                         findings.probs.data());
      UnitProbe& found = findings.units[task.unit];
      AddKeys(seen, findings.probs.data(), row, found);
      AddMass(seen, findings.probs.data(), row, found);
      if (request_.entropy) {
        found.entropy[row] += EntropyOf(scores, findings.probs.data(),
                                        seen.end - seen.begin, lse);
      }
    }
  }

  void AddKeys(const Span& seen, const float* probs, int64_t row,
               UnitProbe& found) const {
    const int64_t count = request_.num_top_keys;
    if (count == 0) return;
    TopKey* top = found.top.data() + row * count;
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      const float prob = probs[j - seen.begin];
      // The common case first: below the worst that is kept.
      if (prob < top[count - 1].prob) continue;
      AddTopKey({j, prob}, count, top);
    }
  }

  void AddMass(const Span& seen, const float* probs, int64_t row,
               UnitProbe& found) const {
    const std::vector<int64_t>& bounds = request_.segment_bounds;
    if (bounds.empty()) return;
    int64_t* mass = found.mass.data() + row * request_.num_segments();
    // The segment that holds seen.begin, or the first beyond it.
    auto segment = static_cast<int64_t>(
        std::upper_bound(bounds.begin(), bounds.end(), seen.begin) -
        bounds.begin() - 1);
    segment = std::max<int64_t>(segment, 0);
    for (; segment < request_.num_segments(); ++segment) {
      const int64_t begin = std::max(bounds[segment], seen.begin);
      const int64_t end = std::min(bounds[segment + 1], seen.end);
      if (begin >= seen.end) return;
      for (int64_t j = begin; j < end; ++j) {
        mass[segment] += static_cast<int64_t>(
            static_cast<double>(probs[j - seen.begin]) / kMassUnit);
      }
    }
  }

  static int64_t EntropyOf(const float* scores, const float* probs, int64_t n,
                           float lse) {
    int64_t sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      const double surprise =
          static_cast<double>(lse) - static_cast<double>(scores[j]);
      // A probability of 0 may come with an infinite surprise.
      if (probs[j] == 0.0f) continue;
      sum += static_cast<int64_t>(static_cast<double>(probs[j]) * surprise /
                                  kEntropyUnit);
    }
    return sum;
  }

  const SessionPart& part_;
  const ProbePartRequest& request_;
  const RangePlan& plan_;
  const Kernels& kernels_;
};

void Add(const UnitProbe& from, int64_t num_top_keys, UnitProbe& to) {
  for (size_t i = 0; i < from.top.size(); ++i) {
    if (from.top[i].position < 0) continue;
    TopKey* row = to.top.data() + i / num_top_keys * num_top_keys;
    AddTopKey(from.top[i], num_top_keys, row);
  }
  for (size_t i = 0; i < from.mass.size(); ++i) to.mass[i] += from.mass[i];
  for (size_t i = 0; i < from.entropy.size(); ++i) {
    to.entropy[i] += from.entropy[i];
  }
}

absl::Status CheckSizes(const SessionPart& part,
                        const ProbePartRequest& request) {
  const auto num_rows = static_cast<int64_t>(request.visible_end.size()) *
                        part.shape().heads_per_kv_head;
  for (const ProbeUnit& unit : request.units) {
    const auto queries = static_cast<int64_t>(unit.queries.queries.size());
    const auto lse = static_cast<int64_t>(unit.lse.size());
    if (queries != num_rows * part.shape().head_dim || lse != num_rows) {
      return absl::InvalidArgumentError(absl::StrCat(
          "probe of kv_head ", unit.queries.kv_head, ": ", queries,
          " numbers and ", lse, " of lse for ", num_rows, " rows"));
    }
    for (const float value : unit.lse) {
      if (std::isnan(value) || value == INFINITY) {
        return absl::InvalidArgumentError("lse of a probe is not finite");
      }
    }
  }
  const auto num_bounds = static_cast<int64_t>(request.segment_bounds.size());
  if (request.num_top_keys < 0 || request.num_top_keys > kMaxTopKeys ||
      num_bounds == 1 || num_bounds > kMaxMassSegments + 1 ||
      !std::is_sorted(request.segment_bounds.begin(),
                      request.segment_bounds.end())) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.num_top_keys, " top keys (at most ", kMaxTopKeys,
                     ") or ", num_bounds,
                     " bounds of segments (ascending, at "
                     "most ",
                     kMaxMassSegments + 1, ") are out of range"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddTopKey(const TopKey& key, int64_t num_top_keys, TopKey* top) {
  const auto worse = [&key](const TopKey& kept) {
    return kept.position < 0 || IsAbove(key, kept);
  };
  int64_t at = num_top_keys;
  while (at > 0 && worse(top[at - 1])) --at;
  if (at == num_top_keys) return;
  std::move_backward(top + at, top + num_top_keys - 1, top + num_top_keys);
  top[at] = key;
}

absl::StatusOr<ProbePartResult> ProbeRows(const SessionPart& part,
                                          const ProbePartRequest& request,
                                          const Kernels& kernels,
                                          ThreadTeam& team) {
  HEADWISE_RETURN_IF_ERROR(CheckSizes(part, request));
  std::vector<int64_t> kv_heads;
  for (const ProbeUnit& unit : request.units) {
    kv_heads.push_back(unit.queries.kv_head);
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const RangePlan plan,
      PlanRanges(part, request.visible_end, kv_heads, request.length));
  for (const RangePlan::Unit& unit : plan.units) {
    if (!AttendsByPolicy(unit.held->share.policy)) continue;
    return absl::UnimplementedError(
        absl::StrCat("probe of kv_head ", unit.held->share.kv_head,
                     ": nobody tells what its policy lets a query see"));
  }
  const Prober prober(part, request, plan, kernels);
  std::vector<Findings> findings(team.num_threads(), prober.Nothing());
  std::atomic<size_t> next = 0;
  team.Run([&](int member) {
    for (size_t i = next++; i < plan.tasks.size(); i = next++) {
      prober.Look(plan.tasks[i], findings[member]);
    }
  });
  for (size_t member = 1; member < findings.size(); ++member) {
    for (size_t u = 0; u < plan.units.size(); ++u) {
      Add(findings[member].units[u], request.num_top_keys,
          findings[0].units[u]);
    }
  }
  return ProbePartResult{std::move(findings[0].units)};
}

}  // namespace headwise
