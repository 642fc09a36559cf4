#include "worker/sessions/range_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

absl::Status CheckVisible(const std::vector<int64_t>& visible_end,
                          int64_t length, const SessionShape& shape) {
  HEADWISE_RETURN_IF_ERROR(CheckLength(shape, length));
  int64_t last = 0;
  for (const int64_t end : visible_end) {
    if (end < last || end > length) {
      return absl::InvalidArgumentError(
          absl::StrCat("visible_end: ", end, " after ", last,
                       "; must not descend nor exceed ", length));
    }
    last = end;
  }
  return absl::OkStatus();
}

// Tasks of a unit for positions [begin, end).
absl::Status AddTasks(RangePlan& plan, int64_t begin, int64_t end,
                      bool is_window) {
  RangePlan::Unit& unit = plan.units.back();
  for (int64_t range = RangeIndexOf(begin); BeginOfRange(range) < end;
       ++range) {
    if (!HoldsRange(unit.held->share, range)) continue;
    const int64_t range_begin = BeginOfRange(range);
    const int64_t range_end = std::min(RangeEnd(range_begin), end);
    HEADWISE_RETURN_IF_ERROR(SessionPart::CheckHeld(
        *unit.held, std::max(begin, range_begin), range_end));
    plan.tasks.push_back({static_cast<int32_t>(plan.units.size()) - 1,
                          static_cast<int32_t>(range), range_begin, range_end,
                          is_window});
  }
  return absl::OkStatus();
}

absl::Status PlanUnit(RangePlan& plan) {
  RangePlan::Unit& unit = plan.units.back();
  const UnitShare& share = unit.held->share;
  const auto num_rows = plan.visible_end.size();
  unit.first_task = static_cast<int32_t>(plan.tasks.size());
  unit.end_task = unit.first_task;
  if (AttendsByPolicy(share.policy)) return absl::OkStatus();
  unit.sinks_end.resize(num_rows);
  unit.window_begin.resize(num_rows);
  const bool is_streaming = share.policy.kind == PolicyKind::kStreaming;
  if (is_streaming) {
    for (size_t r = 0; r < num_rows; ++r) {
      const int64_t end = plan.visible_end[r];
      unit.sinks_end[r] = std::min(share.policy.num_sinks, end);
      unit.window_begin[r] = std::min(
          std::max(share.policy.num_sinks, end - share.policy.window), end);
    }
  }
  const int64_t last = num_rows == 0 ? 0 : plan.visible_end.back();
  if (is_streaming && last > 0) {
    HEADWISE_RETURN_IF_ERROR(
        AddTasks(plan, 0, unit.sinks_end.back(), /*is_window=*/false));
  }
  if (last > 0) {
    HEADWISE_RETURN_IF_ERROR(
        AddTasks(plan, unit.window_begin[0], last, /*is_window=*/true));
  }
  unit.end_task = static_cast<int32_t>(plan.tasks.size());
  unit.num_leading = unit.end_task - unit.first_task;
  if (!share.is_whole()) {
    int32_t range = 0;
    while (range < unit.num_leading &&
           plan.tasks[unit.first_task + range].range == range) {
      ++range;
    }
    unit.num_leading = range;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RangePlan> PlanRanges(const SessionPart& part,
                                     const std::vector<int64_t>& visible_end,
                                     const std::vector<int64_t>& kv_heads,
                                     int64_t length) {
  HEADWISE_RETURN_IF_ERROR(CheckVisible(visible_end, length, part.shape()));
  RangePlan plan;
  const int64_t heads = part.shape().heads_per_kv_head;
  plan.visible_end.reserve(visible_end.size() * heads);
  for (const int64_t end : visible_end) {
    plan.visible_end.insert(plan.visible_end.end(), heads, end);
  }
  for (const int64_t kv_head : kv_heads) {
    const SessionPart::Unit* held = part.FindUnit(kv_head);
    if (held == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("kv_head ", kv_head, " is not of this worker"));
    }
    plan.units.push_back({});
    plan.units.back().held = held;
    HEADWISE_RETURN_IF_ERROR(PlanUnit(plan));
  }
  return plan;
}

}  // namespace headwise
