// The fixed ranges into which a context is cut, whoever attends to them.
//
// A range is attended on its own and gives one partial; partials are merged in
// position order. So the bits do not depend on how many threads or workers
// share a context. Do not change the cuts without a line in CHANGELOG.md:
// logits of contexts beyond the first range change with them.

#ifndef HEADWISE_MODEL_HEAD_PLAN_CONTEXT_RANGES_H_
#define HEADWISE_MODEL_HEAD_PLAN_CONTEXT_RANGES_H_

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"

namespace headwise {

// Short ranges at first, so that the few units of a layer fill all threads at
// once; long ones further on, so that a million positions are 143 partials.
inline constexpr int64_t kShortRange = 512;
inline constexpr int64_t kLongRange = 8192;

// The end of the range that begins at `begin`, itself the begin of a range.
constexpr int64_t RangeEnd(int64_t begin) {
  return begin + (begin < kLongRange ? kShortRange : kLongRange);
}

// The begin of the range that holds position `at`.
constexpr int64_t RangeBegin(int64_t at) {
  const int64_t size = at < kLongRange ? kShortRange : kLongRange;
  return at / size * size;
}

// The index of the range that holds position `at`.
constexpr int64_t RangeIndex(int64_t at) {
  return at < kLongRange ? at / kShortRange
                         : kLongRange / kShortRange + at / kLongRange - 1;
}

// How many ranges hold positions below `end`.
constexpr int64_t NumRanges(int64_t end) {
  const int64_t in_short = std::min(end, kLongRange);
  const int64_t in_long = std::max<int64_t>(end - kLongRange, 0);
  return (in_short + kShortRange - 1) / kShortRange +
         (in_long + kLongRange - 1) / kLongRange;
}

// Blocks of 64 positions of [0, length) that lie in the ranges which `deal`,
// repeated along the context, gives to `rank`. O(deal).
int64_t BlocksDealtTo(absl::Span<const int> deal, int rank, int64_t length);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_CONTEXT_RANGES_H_
