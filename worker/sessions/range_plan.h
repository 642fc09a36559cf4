// Which ranges query rows see, and from where to where: the work of one Attend
// or Probe on one worker.

#ifndef HEADWISE_WORKER_SESSIONS_RANGE_PLAN_H_
#define HEADWISE_WORKER_SESSIONS_RANGE_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/sessions/session_part.h"

namespace headwise {

// One range, or the part of it that is a streaming unit's sinks or window.
struct RangeTask {
  int32_t unit = 0;   // of the plan
  int32_t range = 0;  // index of the range
  int64_t begin = 0;
  int64_t end = 0;
  bool is_window = false;
};

struct RangePlan {
  struct Unit {
    const SessionPart::Unit* held = nullptr;
    int32_t first_task = 0;
    int32_t end_task = 0;
    // None if the unit attends by its policy. The first are of ranges from 0 on
    // without a gap, so their partials can be merged here.
    int32_t num_leading = 0;
    // [num_rows * heads_per_kv_head], never descending. A row sees [0,
    // sinks_end) and [window_begin, visible_end); a full unit's has no sinks
    // and begins at 0.
    std::vector<int64_t> sinks_end;
    std::vector<int64_t> window_begin;
  };
  std::vector<int64_t> visible_end;  // [num_rows * heads_per_kv_head]
  std::vector<Unit> units;
  std::vector<RangeTask> tasks;  // by unit, then in order of position

  int64_t num_rows() const { return static_cast<int64_t>(visible_end.size()); }
  const std::vector<int64_t>& begin_of(const RangeTask& task) const {
    return units[task.unit].window_begin;
  }
  const std::vector<int64_t>& end_of(const RangeTask& task) const {
    return task.is_window ? visible_end : units[task.unit].sinks_end;
  }
};

// `visible_end` [num_rows] never descends. InvalidArgument if it does, or if a
// unit is not of this worker; FailedPrecondition if a row would see a position
// that is not held here any more.
absl::StatusOr<RangePlan> PlanRanges(const SessionPart& part,
                                     const std::vector<int64_t>& visible_end,
                                     const std::vector<int64_t>& kv_heads,
                                     int64_t length);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_RANGE_PLAN_H_
