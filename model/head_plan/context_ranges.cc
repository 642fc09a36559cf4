#include "model/head_plan/context_ranges.h"

#include "model/head_plan/kv_retention.h"

namespace headwise {

static_assert(kShortRange % kRetentionBlock == 0 &&
              kLongRange % kRetentionBlock == 0);

int64_t BlocksDealtTo(absl::Span<const int> deal, int rank, int64_t length) {
  const auto period = static_cast<int64_t>(deal.size());
  const auto is_dealt = [&](int64_t range) {
    return deal[range % period] == rank;
  };
  int64_t blocks = 0;
  for (int64_t begin = 0; begin < std::min(length, kLongRange);
       begin = RangeEnd(begin)) {
    if (!is_dealt(RangeIndex(begin))) continue;
    blocks +=
        (std::min(length, RangeEnd(begin)) - begin + kRetentionBlock - 1) /
        kRetentionBlock;
  }
  if (length <= kLongRange) return blocks;
  // Long ranges: whole deals, what is left of one, and the last range's part.
  const int64_t first = RangeIndex(kLongRange);
  const int64_t num_whole = (length - kLongRange) / kLongRange;
  int64_t whole = 0;
  for (int64_t i = 0; i < period; ++i) {
    if (!is_dealt(first + i)) continue;
    whole += num_whole / period + (i < num_whole % period ? 1 : 0);
  }
  blocks += whole * (kLongRange / kRetentionBlock);
  const int64_t rest = (length - kLongRange) % kLongRange;
  if (is_dealt(first + num_whole)) {
    blocks += (rest + kRetentionBlock - 1) / kRetentionBlock;
  }
  return blocks;
}

}  // namespace headwise
