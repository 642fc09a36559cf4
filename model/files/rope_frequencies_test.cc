#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "model/hyperparameters.h"

namespace headwise {
namespace {

// Expected values come from double arithmetic through exp and log, another way
// than the code's powl. x = base^(-e) by exp(-e log base): the argument, at
// most 14 in size here, is wrong by at most 3 half ulps of 16, that is 3 *
// 2^-50, and so is the result, relatively; the remaining few operations stay
// below that.
constexpr double kRelative = 4 * 0x1p-50;

void ExpectNear(double actual, double expected) {
  EXPECT_NEAR(actual, expected, kRelative * std::abs(expected));
}

Rope RopeOf(double base, int64_t rotary_dim) {
  Rope rope;
  rope.base = base;
  rope.rotary_dim = rotary_dim;
  return rope;
}

double Plain(const Rope& rope, int64_t pair) {
  return std::exp(-2.0 * static_cast<double>(pair) /
                  static_cast<double>(rope.rotary_dim) * std::log(rope.base));
}

TEST(RopeFrequencies, PlainArePowersOfTheBase) {
  const Rope rope = RopeOf(100000.0, 64);
  const RopeFrequencies result = ComputeRopeFrequencies(rope);
  ASSERT_EQ(result.inverse_frequencies.size(), 32u);
  EXPECT_EQ(result.magnitude, 1.0);
  EXPECT_EQ(result.inverse_frequencies[0], 1.0);
  for (int64_t i = 0; i < 32; ++i) {
    ExpectNear(result.inverse_frequencies[i], Plain(rope, i));
  }
}

// Exact bits where they are known without any libm: 10^-1 ... 10^-3, correctly
// rounded, which a pow in double need not give.
TEST(RopeFrequencies, ArePowersRoundedOnce) {
  const RopeFrequencies result = ComputeRopeFrequencies(RopeOf(10000.0, 8));
  EXPECT_EQ(result.inverse_frequencies,
            (std::vector<double>{1.0, 0.1, 0.01, 0.001}));
}

TEST(RopeFrequencies, LinearDividesAll) {
  Rope rope = RopeOf(10000.0, 128);
  rope.scaling.kind = RopeScalingKind::kLinear;
  rope.scaling.factor = 4.0;
  const RopeFrequencies result = ComputeRopeFrequencies(rope);
  EXPECT_EQ(result.magnitude, 1.0);
  for (int64_t i = 0; i < 64; ++i) {
    ExpectNear(result.inverse_frequencies[i], Plain(rope, i) / 4.0);
  }
}

TEST(RopeFrequencies, DivisorsApplyBeforeScaling) {
  Rope rope = RopeOf(10000.0, 4);
  rope.frequency_divisors = {1.0, 8.0};
  EXPECT_EQ(ComputeRopeFrequencies(rope).inverse_frequencies,
            (std::vector<double>{1.0, 0.00125}));
  rope.scaling.kind = RopeScalingKind::kLinear;
  rope.scaling.factor = 2.0;
  EXPECT_EQ(ComputeRopeFrequencies(rope).inverse_frequencies,
            (std::vector<double>{0.5, 0.000625}));
}

// Llama 3.1, in terms of wavelengths as its reference implementation has it.
double Llama3ByWavelength(const RopeScaling& scaling, double frequency) {
  const double pi = std::acos(-1.0);
  const double wavelength = 2 * pi / frequency;
  const double context = static_cast<double>(scaling.original_context_len);
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) {
    return frequency / scaling.factor;
  }
  const double smooth = (context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

TEST(RopeFrequencies, Llama3KeepsFastMixesMiddleDividesSlow) {
  Rope rope = RopeOf(500000.0, 128);
  rope.scaling.kind = RopeScalingKind::kLlama3;
  rope.scaling.factor = 8.0;
  rope.scaling.original_context_len = 8192;
  const RopeFrequencies result = ComputeRopeFrequencies(rope);
  EXPECT_EQ(result.magnitude, 1.0);
  int num_kept = 0, num_divided = 0, num_mixed = 0;
  for (int64_t i = 0; i < 64; ++i) {
    const double plain = Plain(rope, i);
    const double expected = Llama3ByWavelength(rope.scaling, plain);
    ExpectNear(result.inverse_frequencies[i], expected);
    num_kept += expected == plain;
    num_divided += expected == plain / 8.0;
    num_mixed += expected != plain && expected != plain / 8.0;
  }
  EXPECT_EQ(num_kept, 29);
  EXPECT_EQ(num_mixed, 6);
  EXPECT_EQ(num_divided, 29);
}

// YaRN's definitions, solved for the pair and not for the channel: pair i turns
// context * base^(-2i/d) / 2 pi times within the original context.
TEST(RopeFrequencies, YarnRampsBetweenTheTwoRotationCounts) {
  Rope rope = RopeOf(1000000.0, 128);
  rope.scaling.kind = RopeScalingKind::kYarn;
  rope.scaling.factor = 4.0;
  rope.scaling.original_context_len = 32768;
  const double pi = std::acos(-1.0);
  const auto pair_of = [&](double rotations) {
    return std::log(32768.0 / (rotations * 2 * pi)) / std::log(1000000.0) *
           64.0;
  };
  const double low = std::floor(pair_of(32.0));  // 23
  const double high = std::ceil(pair_of(1.0));   // 40
  ASSERT_EQ(low, 23);
  ASSERT_EQ(high, 40);
  const RopeFrequencies result = ComputeRopeFrequencies(rope);
  ExpectNear(result.magnitude, 1 + 0.1 * std::log(4.0));
  for (int64_t i = 0; i < 64; ++i) {
    const double plain = Plain(rope, i);
    double expected = plain;
    if (i > high) {
      expected = plain / 4;
    } else if (i > low) {
      const double share = (static_cast<double>(i) - low) / (high - low);
      expected = plain * (1 - share) + plain / 4 * share;
    }
    ExpectNear(result.inverse_frequencies[i], expected);
  }
}

TEST(RopeFrequencies, YarnTakesTheFilesAttentionFactor) {
  Rope rope = RopeOf(10000.0, 64);
  rope.scaling.kind = RopeScalingKind::kYarn;
  rope.scaling.original_context_len = 4096;
  rope.scaling.factor = 2.0;
  rope.scaling.attention_factor = 1.25;
  EXPECT_EQ(ComputeRopeFrequencies(rope).magnitude, 1.25);
  rope.scaling.attention_factor = 0;
  rope.scaling.factor = 0.5;  // no extension, no magnitude
  EXPECT_EQ(ComputeRopeFrequencies(rope).magnitude, 1.0);
}

// A context so short that both ends of the ramp fall on channel 0.
TEST(RopeFrequencies, YarnWithAnEmptyRampDividesAllButTheFirst) {
  Rope rope = RopeOf(10000.0, 4);
  rope.scaling.kind = RopeScalingKind::kYarn;
  rope.scaling.factor = 2.0;
  rope.scaling.original_context_len = 1;
  rope.scaling.beta_slow = 0.16;  // 1 / 2 pi is a bit less: log below 0
  EXPECT_EQ(ComputeRopeFrequencies(rope).inverse_frequencies,
            (std::vector<double>{1.0, 0.005}));
}

}  // namespace
}  // namespace headwise
