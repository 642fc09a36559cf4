#include "model/files/half_floats.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace headwise {
namespace {

// By the definition of IEEE 754 binary16, in double.
double Fp16ByDefinition(uint16_t half) {
  const double sign = (half & 0x8000) ? -1 : 1;
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::nan("");
  }
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(HalfFloats, EveryFp16ValueIsExactAndComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const double expected = Fp16ByDefinition(half);
    const float value = Fp16ToFloat(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(Fp16ToFloat(FloatToFp16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), expected) << bits;
    ASSERT_EQ(FloatToFp16(value), half) << bits;
  }
}

// Half way between two neighbours goes to the even one, a hair more up, a hair
// less down; for all neighbours, subnormal ones and the step to infinity too.
TEST(HalfFloats, RoundsToNearestEven) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = Fp16ToFloat(half);
    const float high = Fp16ToFloat(half + 1);
    const float middle = low + (high - low) / 2;  // exact in fp32
    ASSERT_EQ(FloatToFp16(middle), half % 2 == 0 ? half : half + 1) << half;
    ASSERT_EQ(FloatToFp16(std::nextafter(middle, low)), half) << half;
    ASSERT_EQ(FloatToFp16(std::nextafter(middle, high)), half + 1) << half;
  }
  EXPECT_EQ(FloatToFp16(65519.996f), 0x7bff);
  EXPECT_EQ(FloatToFp16(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToFp16(-1e30f), 0xfc00);
}

TEST(HalfFloats, Bf16IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(Bf16ToFloat(0x3f80), 1.0f);
  EXPECT_EQ(Bf16ToFloat(0xc040), -3.0f);
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f), 0x3f80);  // tie, to even
  EXPECT_EQ(FloatToBf16(1.0f + 0x3p-8f), 0x3f82);  // tie, to even
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(std::nanf("")))));
}

}  // namespace
}  // namespace headwise
