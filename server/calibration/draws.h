// Random draws that are a function of a seed.

#ifndef HEADWISE_SERVER_CALIBRATION_DRAWS_H_
#define HEADWISE_SERVER_CALIBRATION_DRAWS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headwise {

// SplitMix64 (Steele et al., OOPSLA 2014). Draws of two streams of one seed
// have nothing in common.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream)
      : state_(Mix(seed) ^ Mix(~stream * kGamma)) {}

  uint64_t Next() { return Mix(state_ += kGamma); }

  // In [0, bound), bound >= 1. Uniform but for bound / 2^64.
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(Next() % static_cast<uint64_t>(bound));
  }

  template <typename T>
  const T& Of(const std::vector<T>& choices) {
    return choices[static_cast<size_t>(
        Below(static_cast<int64_t>(choices.size())))];
  }

 private:
  static constexpr uint64_t kGamma = 0x9E3779B97F4A7C15;
  static constexpr uint64_t Mix(uint64_t bits) {
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB;
    return bits ^ (bits >> 31);
  }
  uint64_t state_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_DRAWS_H_
