#include "worker/collectives/sum_parts.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace headwise {
namespace {

// 2 KiB of sums stay in registers and the first cache while parts stream by.
constexpr int64_t kBlockBytes = 2048;

// Signed overflow is undefined, unsigned wraps.
int64_t Add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) +
                              static_cast<uint64_t>(b));
}
float Add(float a, float b) { return a + b; }

template <typename T>
void SumBlocks(absl::Span<const T* const> parts, int64_t num_values, T* sum) {
  HEADWISE_CHECK(!parts.empty());
  constexpr int64_t kBlock = kBlockBytes / sizeof(T);
  // A block is complete before it is stored, so `sum` may be one of the parts.
  alignas(64) T block[kBlock];
  for (int64_t begin = 0; begin < num_values; begin += kBlock) {
    const int64_t n = std::min(kBlock, num_values - begin);
    std::memcpy(block, parts[0] + begin, n * sizeof(T));
    for (size_t p = 1; p < parts.size(); ++p) {
      const T* part = parts[p] + begin;
      for (int64_t i = 0; i < n; ++i) block[i] = Add(block[i], part[i]);
    }
    std::memcpy(sum + begin, block, n * sizeof(T));
  }
}

}  // namespace

void SumParts(absl::Span<const int64_t* const> parts, int64_t num_values,
              int64_t* sum) {
  SumBlocks(parts, num_values, sum);
}

void SumParts(absl::Span<const float* const> parts, int64_t num_values,
              float* sum) {
  SumBlocks(parts, num_values, sum);
}

}  // namespace headwise
