// Which blocks of a unit a worker holds, and how many at most: integers only.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_GEOMETRY_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_GEOMETRY_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "model/head_plan/context_ranges.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

// Where the range of this index begins; its end is RangeEnd of that.
constexpr int64_t BeginOfRange(int64_t index) {
  constexpr int64_t kShortRanges = kLongRange / kShortRange;
  return index < kShortRanges ? index * kShortRange
                              : (index - kShortRanges + 1) * kLongRange;
}

// The index of the range that holds `position`.
constexpr int64_t RangeIndexOf(int64_t position) {
  return NumRanges(position + 1) - 1;
}

// Positions of a unit that are kept at a length: [0, sinks_end) and
// [kept_begin, length). A unit that drops keeps so much that each of the last
// kMaxQueryRows positions can be a query's.
struct KeptPositions {
  int64_t sinks_end = 0;
  int64_t kept_begin = 0;
};
KeptPositions KeptAt(const UnitShare& share, int64_t length);

// Is any position of the block [64 index, 64 index + 64) kept?
bool IsBlockKeptAt(const UnitShare& share, int64_t length, int64_t index);

// Does this worker hold the range?
bool HoldsRange(const UnitShare& share, int64_t range);

// The most blocks that the share has at once on the way to `max_positions`.
int64_t MaxBlocks(const UnitShare& share, int64_t max_positions);

// Whether a snapshot at this length has a run of what the unit remembers of
// dropped positions, before its blocks.
bool HasSums(const UnitShare& share, int64_t length);
inline int64_t SumsBytes(int64_t head_dim) {
  return static_cast<int64_t>(sizeof(int64_t) + 2 * sizeof(double) * head_dim);
}

// Runs of blocks of the share at a length, each within one range and of at most
// `max_blocks`, in order; before them one of sums, where HasSums.
std::vector<BlockRun> BlockRuns(const UnitShare& share, int64_t length,
                                int64_t max_blocks);

// InvalidArgument names field, value and limit.
absl::Status CheckShape(const SessionShape& shape);
// Of what is stored: 0 to max_positions.
absl::Status CheckLength(const SessionShape& shape, int64_t length);
// Unimplemented for policies that sessions do not have, and why.
absl::Status CheckSessionPolicy(const UnitPolicy& policy);
// Units ascend, ranges ascend and lie within max_positions.
absl::Status CheckShares(const SessionShape& shape,
                         const std::vector<UnitShare>& units);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_GEOMETRY_H_
