// The row kernels against plain double arithmetic, on every instruction set of
// this machine, and the bits of all of them against each other.

#include "worker/backends/cpu/kernels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/backends/cpu/isa.h"
#include "worker/backends/cpu/tested_kernels.h"

namespace headwise {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUlp = 0x1p-24;  // half a unit in the last place, relative

std::vector<float> RandomFloats(int64_t n, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

class KernelsTest : public testing::TestWithParam<TestedKernels> {
 protected:
  const Kernels& kernels() const { return *GetParam().kernels; }
};

TEST_P(KernelsTest, ExpIsWithinTwoUnitsAndExactAtZero) {
  EXPECT_EQ(kernels().exp_one(0.0f), 1.0f);
  EXPECT_EQ(kernels().exp_one(-kInfinity), 0.0f);
  EXPECT_EQ(kernels().exp_one(-100.0f), 0.0f);
  EXPECT_TRUE(std::isnan(kernels().exp_one(std::nanf(""))));
  for (float x = -87.0f; x <= 0.0f; x += 0.00137f) {
    const double exact = std::exp(static_cast<double>(x));
    // The rounding of x ln2-reduction and of the last product: 1.5 ulp.
    ASSERT_NEAR(kernels().exp_one(x), exact, 3 * kUlp * exact) << x;
  }
}

TEST_P(KernelsTest, LogIsWithinTwoUnitsAndExactAtOne) {
  EXPECT_EQ(kernels().log_one(1.0f), 0.0f);
  EXPECT_TRUE(std::isnan(kernels().log_one(std::nanf(""))));
  EXPECT_TRUE(std::isnan(kernels().log_one(-std::nanf(""))));
  EXPECT_EQ(kernels().log_one(kInfinity), kInfinity);
  for (float x = 1.0f; x < 1e30f; x *= 1.00091f) {
    const double exact = std::log(static_cast<double>(x));
    ASSERT_NEAR(kernels().log_one(x), exact, 4 * kUlp * exact + 1e-10) << x;
  }
}

// At position 10^6 the angle itself must be right to fp32: a float angle is
// wrong by 0.06 there.
TEST_P(KernelsTest, RopeAnglesAreRightAtAMillion) {
  const std::vector<double> frequencies = {1.0, 0.7310585786, 0.01, 1e-6};
  for (double position : {0.0, 1.0, 511.0, 8191.0, 999'999.0, 4'000'000.0}) {
    float cosines[4], sines[4];
    kernels().rope_angles(position, frequencies.data(), 4, 1.0, cosines, sines);
    for (int i = 0; i < 4; ++i) {
      EXPECT_NEAR(cosines[i], std::cos(position * frequencies[i]), kUlp);
      EXPECT_NEAR(sines[i], std::sin(position * frequencies[i]), kUlp);
    }
  }
}

TEST_P(KernelsTest, RmsNormEqualsItsFormula) {
  const int64_t n = 576;
  const std::vector<float> x = RandomFloats(n, 3.0f, 1);
  const std::vector<float> weight = RandomFloats(n, 1.0f, 2);
  std::vector<float> out(n);
  kernels().rms_norm(x.data(), weight.data(), 1e-5f, n, out.data());
  double squares = 0.0;
  for (float v : x) squares += double{v} * v;
  const double scale = 1.0 / std::sqrt(squares / n + 1e-5);
  for (int64_t i = 0; i < n; ++i) {
    // 36 + 4 additions per lane and tree shift the scale by half of that.
    const double exact = x[i] * scale * weight[i];
    EXPECT_NEAR(out[i], exact, 25 * kUlp * std::abs(exact));
  }
}

TEST_P(KernelsTest, QuantizedRowIsWithinHalfAStep) {
  const int64_t n = 96;
  std::vector<float> x = RandomFloats(n, 1.0f, 3);
  for (int i = 32; i < 64; ++i) x[i] = 0.0f;  // a block of zeros
  x[5] = 12.0f;
  std::vector<int8_t> q(n);
  std::vector<float> scale(n / 32), scaled_sum(n / 32);
  std::vector<int32_t> half_offset(n / 16);
  kernels().quantize(
      x.data(), n,
      {q.data(), scale.data(), scaled_sum.data(), half_offset.data()});
  EXPECT_EQ(q[5], 127);
  for (int64_t b = 0; b < n / 32; ++b) {
    int sums[2] = {0, 0};
    for (int64_t i = 0; i < 32; ++i) {
      const int64_t k = 32 * b + i;
      EXPECT_NEAR(x[k], scale[b] * q[k], scale[b] * 0.5001f);
      sums[i / 16] += q[k];
    }
    EXPECT_EQ(scaled_sum[b], scale[b] * static_cast<float>(sums[0] + sums[1]));
    EXPECT_EQ(half_offset[2 * b], -128 * sums[0]);
    EXPECT_EQ(half_offset[2 * b + 1], -128 * sums[1]);
  }
}

// A value that is not finite must spoil its block, not vanish.
TEST_P(KernelsTest, QuantizeKeepsNanAndInfinity) {
  for (float bad : {std::nanf(""), kInfinity, -kInfinity}) {
    for (int at : {0, 15, 16, 31}) {
      std::vector<float> x(32, 1.0f);
      x[at] = bad;
      int8_t q[32];
      float scale, scaled_sum;
      int32_t half_offset[2];
      kernels().quantize(x.data(), 32, {q, &scale, &scaled_sum, half_offset});
      EXPECT_TRUE(std::isnan(scale)) << bad << " at " << at;
      EXPECT_TRUE(std::isnan(scaled_sum)) << bad << " at " << at;
    }
  }
}

TEST_P(KernelsTest, SiluMultiplyEqualsItsFormula) {
  std::vector<float> gate = RandomFloats(64, 4.0f, 5);
  const std::vector<float> up = RandomFloats(64, 1.0f, 6);
  gate[0] = -200.0f;
  gate[1] = 200.0f;
  std::vector<float> out(64);
  kernels().silu_multiply(gate.data(), up.data(), 64, out.data());
  for (int i = 0; i < 64; ++i) {
    const double exact =
        double{gate[i]} / (1 + std::exp(-double{gate[i]})) * double{up[i]};
    EXPECT_NEAR(out[i], exact, 8 * kUlp * std::abs(exact) + 1e-30);
  }
}

// fp32 -> fixed point -> fp32 returns every value that is a multiple of 2^-32,
// and sums of any order are equal.
TEST_P(KernelsTest, FixedPointIsExact) {
  const std::vector<float> values = {0.0f,     1.0f,       -1.0f,   0x1p-32f,
                                     -0x1p-9f, 123456.75f, 0x1p18f, -0x1p18f};
  for (float value : values) {
    std::vector<int64_t> acc(16, static_cast<int64_t>(std::ldexp(value, 32)));
    std::vector<float> x(16, 0.0f);
    kernels().add_fixed_point(acc.data(), 16, x.data());
    for (float v : x) EXPECT_EQ(v, value);
  }
  // Beyond 53 bits the conversion rounds once, as the definition says.
  const int64_t large = (int64_t{1} << 62) + (int64_t{1} << 31) + 1;
  for (int64_t signed_large : {large, -large}) {
    std::vector<int64_t> acc(16, signed_large);
    std::vector<float> x(16, 0.0f);
    kernels().add_fixed_point(acc.data(), 16, x.data());
    const auto exact =
        static_cast<float>(static_cast<double>(signed_large) * 0x1p-32);
    for (float v : x) EXPECT_EQ(v, exact);
  }
}

TEST_P(KernelsTest, SoftmaxStatsOfEveryLength) {
  const std::vector<float> x = RandomFloats(100, 5.0f, 7);
  for (int64_t n = 1; n <= 100; ++n) {
    const SoftmaxStats stats = kernels().softmax_stats(x.data(), n);
    double max = -1e30, sum = 0.0;
    for (int64_t i = 0; i < n; ++i) max = std::max<double>(max, x[i]);
    for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - max);
    EXPECT_EQ(stats.max, static_cast<float>(max));
    // At most 7 + 4 additions and an exp of 1.5 ulp each.
    EXPECT_NEAR(stats.sum, sum, 16 * kUlp * sum);
    EXPECT_EQ(kernels().max_of(x.data(), n), static_cast<float>(max));
  }
}

// A NaN reaches the maximum from any place, whatever stands before and behind.
TEST_P(KernelsTest, MaximumAndStatsKeepNan) {
  for (int64_t n : {1, 15, 16, 17, 40}) {
    for (int64_t at = 0; at < n; ++at) {
      for (float nan : {std::nanf(""), -std::nanf("")}) {
        std::vector<float> x = RandomFloats(n, 5.0f, 8);
        if (at > 0) x[0] = kInfinity;  // NaN is more than +inf
        x[at] = nan;
        EXPECT_TRUE(std::isnan(kernels().max_of(x.data(), n))) << n << at;
        const SoftmaxStats stats = kernels().softmax_stats(x.data(), n);
        EXPECT_TRUE(std::isnan(stats.max)) << n << " " << at;
        EXPECT_TRUE(std::isnan(stats.sum)) << n << " " << at;
      }
    }
  }
}

TEST_P(KernelsTest, StatsOfAnInfiniteMaximumHaveNoSum) {
  for (float infinity : {kInfinity, -kInfinity}) {
    for (int64_t n : {1, 16, 17}) {
      std::vector<float> x(static_cast<size_t>(n), -kInfinity);
      x.back() = infinity;
      EXPECT_EQ(kernels().max_of(x.data(), n), infinity);
      const SoftmaxStats stats = kernels().softmax_stats(x.data(), n);
      EXPECT_EQ(stats.max, infinity);
      EXPECT_TRUE(std::isnan(stats.sum));
    }
  }
  const std::vector<float> x = {-kInfinity, 1.0f};  // one may be -inf
  EXPECT_EQ(kernels().softmax_stats(x.data(), 2).sum, 1.0f);
}

INSTANTIATE_TEST_SUITE_P(Isas, KernelsTest,
                         testing::ValuesIn(AllTestedKernels()),
                         [](const auto& info) { return info.param.name; });

TEST(IsaTest, NamesAreParsedAndRefused) {
  ASSERT_FALSE(IsasOfThisMachine().empty());
  EXPECT_EQ(*ParseIsa("best"), IsasOfThisMachine().back());
  EXPECT_EQ(*ParseIsa("avx2"), Isa::kAvx2);
  EXPECT_EQ(ParseIsa("sse").status().code(),
            absl::StatusCode::kInvalidArgument);
}

bool SameBits(const void* a, const void* b, size_t bytes) {
  return std::memcmp(a, b, bytes) == 0;
}
bool SameBits(float a, float b) { return SameBits(&a, &b, sizeof(a)); }

// All instruction sets against the first, bit by bit.
TEST(IsaTest, BitsOfRowKernelsAreEqual) {
  const Kernels& first = *AllTestedKernels().front().kernels;
  const std::vector<float> x = RandomFloats(4096, 8.0f, 11);
  const std::vector<float> y = RandomFloats(4096, 1.0f, 12);
  std::vector<int64_t> acc(4096);
  std::mt19937_64 random(13);
  for (int64_t& a : acc) a = static_cast<int64_t>(random()) >> (random() % 40);
  for (const TestedKernels& tested : AllTestedKernels()) {
    SCOPED_TRACE(tested.name);
    const Kernels& other = *tested.kernels;
    std::vector<float> a(4096), b(4096);
    first.silu_multiply(x.data(), y.data(), 4096, a.data());
    other.silu_multiply(x.data(), y.data(), 4096, b.data());
    EXPECT_TRUE(SameBits(a.data(), b.data(), 4096 * 4)) << "silu";
    first.rms_norm(x.data(), y.data(), 1e-5f, 4096, a.data());
    other.rms_norm(x.data(), y.data(), 1e-5f, 4096, b.data());
    EXPECT_TRUE(SameBits(a.data(), b.data(), 4096 * 4)) << "norm";
    first.exp_below(x.data(), 4095, 3.0f, a.data());
    other.exp_below(x.data(), 4095, 3.0f, b.data());
    EXPECT_TRUE(SameBits(a.data(), b.data(), 4095 * 4)) << "exp";
    a = b = x;
    first.add_fixed_point(acc.data(), 4096, a.data());
    other.add_fixed_point(acc.data(), 4096, b.data());
    EXPECT_TRUE(SameBits(a.data(), b.data(), 4096 * 4)) << "fixed point";
    for (int64_t i = 0; i < 4096; ++i) {
      const float positive = std::abs(x[i]) + 1e-3f;
      ASSERT_EQ(first.log_one(positive), other.log_one(positive));
      ASSERT_EQ(first.exp_one(x[i]), other.exp_one(x[i]));
    }
  }
}

TEST(IsaTest, BitsOfStatsAreEqualAlsoForWhatIsNotFinite) {
  const Kernels& first = *AllTestedKernels().front().kernels;
  for (const TestedKernels& tested : AllTestedKernels()) {
    SCOPED_TRACE(tested.name);
    const Kernels& other = *tested.kernels;
    for (float odd :
         {1.0f, kInfinity, -kInfinity, std::nanf(""), -std::nanf("")}) {
      EXPECT_TRUE(SameBits(first.exp_one(odd), other.exp_one(odd))) << odd;
      for (int64_t n = 1; n <= 40; ++n) {
        std::vector<float> x = RandomFloats(n, 8.0f, 14);
        x[n / 2] = odd;
        const SoftmaxStats a = first.softmax_stats(x.data(), n);
        const SoftmaxStats b = other.softmax_stats(x.data(), n);
        EXPECT_TRUE(SameBits(&a, &b, sizeof(a))) << n << " " << odd;
        EXPECT_TRUE(
            SameBits(first.max_of(x.data(), n), other.max_of(x.data(), n)));
      }
    }
    for (float odd : {kInfinity, std::nanf(""), -std::nanf("")}) {
      EXPECT_TRUE(SameBits(first.log_one(odd), other.log_one(odd))) << odd;
    }
  }
}

// Blocks of ordinary values, of exact halves of a step, of denormals, of zeros
// of both signs, of values too small to be divided by, and with a NaN.
TEST(IsaTest, BitsOfQuantizeAreEqual) {
  const int64_t n = 6 * 32;
  std::vector<float> x = RandomFloats(n, 1.0f, 15);
  for (int i = 0; i < 32; ++i) {
    x[32 + i] = i == 0 ? 127.0f : static_cast<float>(i) - 15.5f;
    x[64 + i] *= 0x1p-130f;
    x[96 + i] = i % 2 == 0 ? 0.0f : -0.0f;
    x[128 + i] *= 0x1p-101f;
  }
  x[160 + 20] = std::nanf("");
  const Kernels& first = *AllTestedKernels().front().kernels;
  struct Row {
    std::vector<int8_t> q = std::vector<int8_t>(n);
    std::vector<float> scale = std::vector<float>(n / 32);
    std::vector<float> scaled_sum = std::vector<float>(n / 32);
    std::vector<int32_t> half_offset = std::vector<int32_t>(n / 16);
  };
  for (const TestedKernels& tested : AllTestedKernels()) {
    SCOPED_TRACE(tested.name);
    Row a, b;
    first.quantize(x.data(), n,
                   {a.q.data(), a.scale.data(), a.scaled_sum.data(),
                    a.half_offset.data()});
    tested.kernels->quantize(x.data(), n,
                             {b.q.data(), b.scale.data(), b.scaled_sum.data(),
                              b.half_offset.data()});
    EXPECT_EQ(a.q, b.q);
    EXPECT_TRUE(SameBits(a.scale.data(), b.scale.data(), n / 8));
    EXPECT_TRUE(SameBits(a.scaled_sum.data(), b.scaled_sum.data(), n / 8));
    EXPECT_EQ(a.half_offset, b.half_offset);
  }
}

TEST(IsaTest, BitsOfRopeAnglesAreEqual) {
  const Kernels& first = *AllTestedKernels().front().kernels;
  const std::vector<double> frequencies = {1.0, 0.7310585786, 0.01, 1e-6};
  for (const TestedKernels& tested : AllTestedKernels()) {
    SCOPED_TRACE(tested.name);
    for (int64_t position = 0; position < 4'000'000; position += 997) {
      float a[8], b[8];
      first.rope_angles(position, frequencies.data(), 4, 1.1, a, a + 4);
      tested.kernels->rope_angles(position, frequencies.data(), 4, 1.1, b,
                                  b + 4);
      ASSERT_TRUE(SameBits(a, b, sizeof(a))) << position;
    }
  }
}

// A block with int8 scales, and merged parts, one of them empty.
TEST(IsaTest, BitsOfAppendAndMergeAreEqual) {
  const Kernels& first = *AllTestedKernels().front().kernels;
  const int64_t dim = 48, rows = 3;
  const std::vector<float> x = RandomFloats(2 * rows * dim, 1.0f, 16);
  const std::vector<float> part_lse = {1.5f, -kInfinity, -40.0f};
  for (const TestedKernels& tested : AllTestedKernels()) {
    SCOPED_TRACE(tested.name);
    for (KvElement element : {KvElement::kFp32, KvElement::kFp16,
                              KvElement::kBf16, KvElement::kInt8}) {
      const KvLayout layout = {element, dim};
      std::vector<uint8_t> blocks[2];
      for (int side = 0; side < 2; ++side) {
        blocks[side].resize(static_cast<size_t>(layout.block_bytes()));
        const Kernels& kernels = side == 0 ? first : *tested.kernels;
        for (int64_t slot : {0, 17, 63}) {
          kernels.append({layout, blocks[side].data(), slot, x.data() + slot,
                          x.data() + dim + slot});
        }
      }
      EXPECT_EQ(blocks[0], blocks[1]);
    }
    std::vector<float> a(x.begin(), x.begin() + rows * dim), b = a;
    std::vector<float> lse_a = {1.0f, 2.0f, 3.0f}, lse_b = lse_a;
    const float* part = x.data() + rows * dim;
    first.merge({a.data(), lse_a.data(), part, part_lse.data(), rows, dim});
    tested.kernels->merge(
        {b.data(), lse_b.data(), part, part_lse.data(), rows, dim});
    EXPECT_TRUE(SameBits(a.data(), b.data(), rows * dim * 4));
    EXPECT_EQ(lse_a, lse_b);
  }
}

}  // namespace
}  // namespace headwise
