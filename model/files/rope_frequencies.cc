// Rotation frequencies. Sources: Su et al., "RoFormer", arXiv:2104.09864, eq.
// 15 (plain); Chen et al., "Extending Context Window ... via Positional
// Interpolation", arXiv:2306.15595, eq. 4 (linear); Peng et al., "YaRN",
// arXiv:2309.00071, definitions 1 to 3, with the published models' rounding of
// the ramp's ends to whole channels; Llama 3.1's scaling after its reference
// implementation (models/llama3_1, apply_scaling).
//
// Everything is computed in long double and rounded to double once at the end:
// the bits then do not depend on which pow or log a libm ships.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "model/hyperparameters.h"

namespace headwise {

namespace {

using Real = long double;

constexpr Real kTwoPi = 2 * std::numbers::pi_v<Real>;

// The channel pair that turns `rotations` times within the original context, as
// a real number of channels (YaRN, definition 2 solved for the dimension).
Real YarnCorrectionDim(const Rope& rope, Real rotations) {
  const Real context = static_cast<Real>(rope.scaling.original_context_len);
  return static_cast<Real>(rope.rotary_dim) *
         std::log(context / (rotations * kTwoPi)) /
         (2 * std::log(static_cast<Real>(rope.base)));
}

// Pairs below `low` keep their frequency, above `high` are divided by the
// factor, between them mixed.
struct YarnRamp {
  Real low;
  Real high;

  explicit YarnRamp(const Rope& rope) {
    low = std::floor(YarnCorrectionDim(rope, rope.scaling.beta_fast));
    high = std::ceil(YarnCorrectionDim(rope, rope.scaling.beta_slow));
    low = std::max<Real>(low, 0);
    high = std::min<Real>(high, static_cast<Real>(rope.rotary_dim - 1));
  }
  Real Interpolation(int64_t pair) const {
    // The floor on the width is the reference's way not to divide by zero.
    const Real width = std::max<Real>(high - low, 0.001L);
    return std::clamp<Real>((static_cast<Real>(pair) - low) / width, 0, 1);
  }
};

Real Llama3Frequency(const RopeScaling& scaling, Real frequency) {
  const Real context = static_cast<Real>(scaling.original_context_len);
  const Real rotations = context * frequency / kTwoPi;
  const Real low = scaling.low_freq_factor;
  const Real high = scaling.high_freq_factor;
  if (rotations < low) return frequency / scaling.factor;
  if (rotations > high) return frequency;
  const Real smooth = (rotations - low) / (high - low);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

double YarnMagnitude(const RopeScaling& scaling) {
  if (scaling.attention_factor != 0) return scaling.attention_factor;
  if (scaling.factor <= 1) return 1.0;
  return static_cast<double>(
      0.1L * std::log(static_cast<Real>(scaling.factor)) + 1);
}

}  // namespace

RopeFrequencies ComputeRopeFrequencies(const Rope& rope) {
  const int64_t num_pairs = rope.rotary_dim / 2;
  const RopeScaling& scaling = rope.scaling;
  HEADWISE_CHECK(rope.frequency_divisors.empty() ||
                 static_cast<int64_t>(rope.frequency_divisors.size()) ==
                     num_pairs);
  const bool is_yarn = scaling.kind == RopeScalingKind::kYarn;
  RopeFrequencies result;
  if (is_yarn) result.magnitude = YarnMagnitude(scaling);
  result.inverse_frequencies.reserve(num_pairs);
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    const Real exponent =
        static_cast<Real>(-2 * pair) / static_cast<Real>(rope.rotary_dim);
    Real frequency = std::pow(static_cast<Real>(rope.base), exponent);
    if (!rope.frequency_divisors.empty()) {
      frequency /= rope.frequency_divisors[pair];
    }
    if (scaling.kind == RopeScalingKind::kLinear) {
      frequency /= scaling.factor;
    } else if (is_yarn) {
      const Real interpolation = YarnRamp(rope).Interpolation(pair);
      frequency = frequency / scaling.factor * interpolation +
                  frequency * (1 - interpolation);
    } else if (scaling.kind == RopeScalingKind::kLlama3) {
      frequency = Llama3Frequency(scaling, frequency);
    }
    result.inverse_frequencies.push_back(static_cast<double>(frequency));
  }
  return result;
}

}  // namespace headwise
