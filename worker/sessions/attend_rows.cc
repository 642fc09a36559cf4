#include "worker/sessions/attend_rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/sessions/policy_units.h"
#include "worker/sessions/range_plan.h"

namespace headwise {
namespace {

// Units whose partials are in memory together.
class UnitGroup {
 public:
  UnitGroup(const SessionPart& part, const AttendPartRequest& request,
            const RangePlan& plan, const Kernels& kernels)
      : part_(part), request_(request), plan_(plan), kernels_(kernels) {}

  // Units [first, end) of the plan.
  std::vector<UnitPartials> Run(int32_t first, int32_t end, ThreadTeam& team) {
    const int32_t first_task = plan_.units[first].first_task;
    const int32_t num_tasks = plan_.units[end - 1].end_task - first_task;
    partials_.assign(num_tasks, {});
    std::vector<UnitPartials> out(end - first);
    std::atomic<int32_t> next_task = 0;
    std::atomic<int32_t> next_unit = 0;
    team.Run([&](int) {
      std::vector<float> scratch(
          AttendScratchFloats(plan_.num_rows(), part_.shape().head_dim));
      for (int32_t i = next_task++; i < num_tasks; i = next_task++) {
        Attend(plan_.tasks[first_task + i], partials_[i], scratch);
      }
      team.Barrier();
      for (int32_t i = next_unit++; i < end - first; i = next_unit++) {
        out[i] = Collect(plan_.units[first + i], first_task);
      }
    });
    return out;
  }

 private:
  void Attend(const RangeTask& task, RangePartial& partial,
              std::vector<float>& scratch) const {
    const int64_t rows = plan_.num_rows();
    partial.first_range = task.range;
    partial.out.resize(rows * part_.shape().head_dim);
    partial.lse.resize(rows);
    const RangePlan::Unit& unit = plan_.units[task.unit];
    AttendArgs args;
    args.layout = part_.shape().layout();
    args.blocks = unit.held->blocks.data();
    args.begin = task.begin;
    args.end = task.end;
    args.queries = request_.units[task.unit].queries.data();
    if (task.is_window && !unit.held->share.is_full()) {
      args.visible_begin = unit.window_begin.data();
    }
    args.visible_end = plan_.end_of(task).data();
    args.num_rows = rows;
    args.out = partial.out.data();
    args.lse = partial.lse.data();
    args.scratch = scratch.data();
    kernels_.attend(args);
  }

  // The leading partials become one, merged into nothing: so a row's bits are
  // the same whichever ranges other rows see.
  UnitPartials Collect(const RangePlan::Unit& unit, int32_t first_task) {
    const int64_t rows = plan_.num_rows();
    const int64_t head_dim = part_.shape().head_dim;
    UnitPartials out;
    out.kv_head = unit.held->share.kv_head;
    RangePartial* parts = partials_.data() + (unit.first_task - first_task);
    const int32_t num_parts = unit.end_task - unit.first_task;
    if (unit.num_leading > 0) {
      RangePartial merged;
      merged.out.resize(rows * head_dim);
      merged.lse.assign(rows, -INFINITY);
      for (int32_t i = 0; i < unit.num_leading; ++i) {
        kernels_.merge({merged.out.data(), merged.lse.data(),
                        parts[i].out.data(), parts[i].lse.data(), rows,
                        head_dim});
      }
      out.parts.push_back(std::move(merged));
    }
    for (int32_t i = unit.num_leading; i < num_parts; ++i) {
      out.parts.push_back(std::move(parts[i]));
    }
    return out;
  }

  const SessionPart& part_;
  const AttendPartRequest& request_;
  const RangePlan& plan_;
  const Kernels& kernels_;
  std::vector<RangePartial> partials_;
};

}  // namespace

absl::StatusOr<AttendPartResult> AttendRows(SessionPart& part,
                                            const AttendPartRequest& request,
                                            const Kernels& kernels,
                                            ThreadTeam& team) {
  const auto num_rows = static_cast<int64_t>(request.visible_end.size());
  const int64_t width = part.shape().heads_per_kv_head * part.shape().head_dim;
  std::vector<int64_t> kv_heads;
  for (const UnitQueries& unit : request.units) {
    const auto count = static_cast<int64_t>(unit.queries.size());
    if (num_rows > kMaxQueryRows || count != num_rows * width) {
      return absl::InvalidArgumentError(
          absl::StrCat("queries of kv_head ", unit.kv_head, ": ", count,
                       " numbers for ", num_rows, " rows of ", width));
    }
    kv_heads.push_back(unit.kv_head);
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const RangePlan plan,
      PlanRanges(part, request.visible_end, kv_heads, request.length));

  const auto num_units = static_cast<int32_t>(plan.units.size());
  const int64_t row_floats = plan.num_rows() * (part.shape().head_dim + 1);
  for (const RangePlan::Unit& unit : plan.units) {
    const int64_t floats = row_floats * (unit.end_task - unit.first_task);
    if (floats > kMaxUnitFloats) {
      return absl::InvalidArgumentError(absl::StrCat(
          plan.num_rows(), " rows over ", unit.end_task - unit.first_task,
          " ranges need ", floats, " floats, at most ", kMaxUnitFloats));
    }
  }
  UnitGroup group(part, request, plan, kernels);
  AttendPartResult result;
  for (int32_t first = 0; first < num_units;) {
    int32_t end = first;
    int64_t floats = 0;
    do {
      floats +=
          row_floats * (plan.units[end].end_task - plan.units[end].first_task);
      ++end;
    } while (end < num_units && floats < kMaxPartialFloats);
    for (UnitPartials& unit : group.Run(first, end, team)) {
      result.units.push_back(std::move(unit));
    }
    first = end;
  }
  HEADWISE_RETURN_IF_ERROR(
      AttendPolicyUnits(part, request, kernels, team, &result));
  return result;
}

}  // namespace headwise
