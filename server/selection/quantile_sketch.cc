#include "server/selection/quantile_sketch.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"

namespace headwise {
namespace {

constexpr double kLeast = 0x1p-30;  // in size, of a bucket of its own
constexpr double kGreatest = 0x1p30;
constexpr int kDroppedBits = 52 - 6;  // of the fraction
constexpr int kSumBits = 40;          // of sum_, after the point
constexpr absl::string_view kVersion = "1";

constexpr int64_t TopBits(double value) {
  return static_cast<int64_t>(std::bit_cast<uint64_t>(value) >> kDroppedBits);
}
constexpr auto kMaxBucket =
    static_cast<int32_t>(TopBits(kGreatest) - TopBits(kLeast) + 1);
static_assert(2 * kMaxBucket + 1 == 7683);

// 0 for those near 0, else 1 and up for values > 0, -1 and down for others.
int32_t BucketOf(double value) {
  const double size = std::min(std::fabs(value), kGreatest);
  if (size < kLeast) return 0;
  const auto bucket = static_cast<int32_t>(TopBits(size) - TopBits(kLeast) + 1);
  return value < 0 ? -bucket : bucket;
}

// The first value of the bucket `number` > 0.
double BeginOf(int32_t number) {
  const int64_t top_bits = TopBits(kLeast) + number - 1;
  return std::bit_cast<double>(static_cast<uint64_t>(top_bits) << kDroppedBits);
}

double MiddleOf(int32_t bucket) {
  if (bucket == 0) return 0.0;
  const int32_t number = std::abs(bucket);
  const double middle = number == kMaxBucket
                            ? kGreatest
                            : (BeginOf(number) + BeginOf(number + 1)) / 2;
  return bucket < 0 ? -middle : middle;
}

std::string DoubleText(double value) {
  char text[32];
  return {text, std::to_chars(text, std::end(text), value).ptr};
}

std::optional<double> DoubleOf(absl::string_view text) {
  double value = 0.0;
  const char* end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

void QuantileSketch::Add(double value) {
  HEADWISE_CHECK(std::isfinite(value));
  value += 0.0;  // -0 becomes 0, or which one min() is depended on the order
  min_ = empty() ? value : std::min(min_, value);
  max_ = empty() ? value : std::max(max_, value);
  const double bounded = std::clamp(value, -kGreatest, kGreatest);
  sum_ += absl::int128(std::round(std::ldexp(bounded, kSumBits)));
  ++count_;
  ++counts_[BucketOf(value)];
}

void QuantileSketch::Merge(const QuantileSketch& other) {
  if (other.empty()) return;
  min_ = empty() ? other.min_ : std::min(min_, other.min_);
  max_ = empty() ? other.max_ : std::max(max_, other.max_);
  sum_ += other.sum_;
  count_ += other.count_;
  for (const auto& [bucket, count] : other.counts_) counts_[bucket] += count;
}

double QuantileSketch::mean() const {
  HEADWISE_CHECK(!empty());
  return std::ldexp(static_cast<double>(sum_), -kSumBits) /
         static_cast<double>(count_);
}

double QuantileSketch::Quantile(double fraction) const {
  HEADWISE_CHECK(!empty() && fraction >= 0.0 && fraction <= 1.0);
  // A product that is an integer but for its rounding counts as that integer:
  // 0.07 * 100 is a bit above 7.
  const double product = fraction * static_cast<double>(count_);
  const auto place =
      static_cast<int64_t>(std::ceil(product - product * 0x1p-51));
  if (place <= 1) return min_;
  if (place >= count_) return max_;
  int64_t seen = 0;
  for (const auto& [bucket, count] : counts_) {
    seen += count;
    if (seen >= place) return std::clamp(MiddleOf(bucket), min_, max_);
  }
  HEADWISE_CHECK(false && "counts_ sum to count_");
}

std::string QuantileSketch::ToText() const {
  std::string text = absl::StrCat(
      kVersion, " ", count_, " ", DoubleText(min_), " ", DoubleText(max_), " ",
      absl::Int128High64(sum_), " ", absl::Int128Low64(sum_));
  for (const auto& [bucket, count] : counts_) {
    absl::StrAppend(&text, " ", bucket, ":", count);
  }
  return text;
}

absl::StatusOr<QuantileSketch> QuantileSketch::FromText(
    absl::string_view text) {
  const auto error = [](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("not the text of a quantile sketch: ", what));
  };
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  if (words.size() < 6 || words[0] != kVersion) return error("its head");
  QuantileSketch sketch;
  int64_t high = 0;
  uint64_t low = 0;
  const std::optional<double> min = DoubleOf(words[2]);
  const std::optional<double> max = DoubleOf(words[3]);
  if (!absl::SimpleAtoi(words[1], &sketch.count_) || !min.has_value() ||
      !max.has_value() || *min > *max || !absl::SimpleAtoi(words[4], &high) ||
      !absl::SimpleAtoi(words[5], &low)) {
    return error("a number of its head");
  }
  sketch.min_ = *min;
  sketch.max_ = *max;
  sketch.sum_ = absl::MakeInt128(high, low);
  int64_t left = sketch.count_;
  for (size_t i = 6; i < words.size(); ++i) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(words[i], absl::MaxSplits(':', 1));
    int32_t bucket = 0;
    int64_t count = 0;
    if (!absl::SimpleAtoi(parts.first, &bucket) || bucket < -kMaxBucket ||
        bucket > kMaxBucket || !absl::SimpleAtoi(parts.second, &count) ||
        count < 1 || count > left) {
      return error(words[i]);
    }
    left -= count;
    sketch.counts_.emplace(bucket, count);
  }
  if (left != 0) return error("counts that are not those of its buckets");
  // Spaces, signs, another order, a bucket twice.
  if (sketch.ToText() != text) return error("another spelling");
  if (sketch.empty()) {
    if (sketch == QuantileSketch()) return sketch;
    return error("ends or a sum of no values");
  }
  if (sketch.counts_.begin()->first != BucketOf(*min) ||
      sketch.counts_.rbegin()->first != BucketOf(*max)) {
    return error("ends that are not in its first and last bucket");
  }
  return sketch;
}

bool operator==(const QuantileSketch& a, const QuantileSketch& b) {
  return a.count_ == b.count_ && a.min_ == b.min_ && a.max_ == b.max_ &&
         a.sum_ == b.sum_ && a.counts_ == b.counts_;
}

}  // namespace headwise
