// Quantiles of a domain's scores while its job still runs.

#ifndef HEADWISE_SERVER_SELECTION_QUANTILE_SKETCH_H_
#define HEADWISE_SERVER_SELECTION_QUANTILE_SKETCH_H_

#include <cstdint>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Counts values in buckets of their floating-point bits: sign, exponent and the
// first 6 bits of the fraction. A bucket of [lo, hi) has hi - lo <= lo / 64,
// and its middle stands for it, so a quantile is off by at most 1/128 (0.79 %)
// of itself. Values nearer to 0 than 2^-30 share one bucket that stands for 0;
// those beyond 2^30 in size count as 2^30, except for min and max.
//
// Everything is a sum of integers: what was added and merged matters, the order
// does not, and equal content has equal text. At most 7,683 buckets, 16 bytes
// each. Not thread-safe.
class QuantileSketch {
 public:
  // Of a quantile, except near 0 and beyond 2^30.
  static constexpr double kRelativeError = 1.0 / 128;

  // Requires a finite value.
  void Add(double value);
  void Merge(const QuantileSketch& other);

  int64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }

  // These require !empty().
  double min() const { return min_; }
  double max() const { return max_; }
  double mean() const;  // of the values rounded to 2^-40
  // The value that `fraction` of all values (0 to 1) do not exceed: of n sorted
  // values the one numbered ceil(fraction * n), from 1; min() and max() at the
  // ends.
  double Quantile(double fraction) const;

  // One line of text, to be kept; equal for equal content.
  std::string ToText() const;
  // InvalidArgument if it is no text of ToText.
  static absl::StatusOr<QuantileSketch> FromText(absl::string_view text);

  friend bool operator==(const QuantileSketch& a, const QuantileSketch& b);

 private:
  int64_t count_ = 0;
  double min_ = 0.0;
  double max_ = 0.0;
  absl::int128 sum_ = 0;                      // in units of 2^-40
  absl::btree_map<int32_t, int64_t> counts_;  // by bucket, rising as the values
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_QUANTILE_SKETCH_H_
