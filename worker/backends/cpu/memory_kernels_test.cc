// The memory kernels against plain double arithmetic, on every instruction set
// of this machine, and the bits of all of them against each other.

#include "worker/backends/cpu/memory_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

std::vector<float> RandomFloats(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

class MemoryKernelsTest : public testing::TestWithParam<Isa> {
 protected:
  const MemoryKernels& kernels() const { return MemoryKernelsFor(GetParam()); }
};

// A product with strides that are wider than its rows.
struct ProductCase {
  int64_t num_rows, num_cols, depth, depth_step;
  bool transposed, add;

  int64_t deepest() const { return depth + (num_rows - 1) * depth_step; }
  MemoryProduct Args(const std::vector<float>& a, const std::vector<float>& b,
                     std::vector<float>& out) const {
    MemoryProduct args;
    args.a = a.data();
    args.a_row_stride = transposed ? 1 : deepest() + 3;
    args.a_depth_stride = transposed ? num_rows + 5 : 1;
    args.b = b.data();
    args.b_stride = num_cols + 16;
    args.out = out.data();
    args.out_stride = num_cols + 32;
    args.num_rows = num_rows;
    args.num_cols = num_cols;
    args.depth = depth;
    args.depth_step = depth_step;
    args.add = add;
    return args;
  }
};

std::vector<ProductCase> ProductCases() {
  std::vector<ProductCase> cases;
  for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 12, 17}) {
    for (int64_t cols : {16, 32, 64, 80, 144}) {
      for (int64_t depth : {1, 5, 64}) {
        const bool odd = (rows + cols / 16 + depth) % 2 != 0;
        cases.push_back({rows, cols, depth, 0, odd, !odd});
        cases.push_back({rows, cols, depth, 1, !odd, !odd});
      }
    }
  }
  return cases;
}

// A chain of fused operations rounds once a step, and std::fma is one.
TEST_P(MemoryKernelsTest, AProductIsOneChainForEachElement) {
  for (const ProductCase& c : ProductCases()) {
    const std::vector<float> a =
        RandomFloats((c.num_rows + 5) * (c.deepest() + 3), 1);
    const std::vector<float> b =
        RandomFloats(c.deepest() * (c.num_cols + 16), 2);
    std::vector<float> out = RandomFloats(c.num_rows * (c.num_cols + 32), 3);
    std::vector<float> expected = out;
    const MemoryProduct args = c.Args(a, b, expected);
    for (int64_t m = 0; m < c.num_rows; ++m) {
      for (int64_t n = 0; n < c.num_cols; ++n) {
        float& sum = expected[m * args.out_stride + n];
        if (!c.add) sum = 0.0f;
        for (int64_t k = 0; k < c.depth + m * c.depth_step; ++k) {
          sum = std::fma(a[m * args.a_row_stride + k * args.a_depth_stride],
                         b[k * args.b_stride + n], sum);
        }
      }
    }
    kernels().product(c.Args(a, b, out));
    ASSERT_EQ(out, expected) << c.num_rows << " x " << c.num_cols << ", depth "
                             << c.depth << " + " << c.depth_step;
  }
}

// What lies beyond a row's depth may be anything.
TEST_P(MemoryKernelsTest, ARowIsNotTouchedByWhatLiesBeyondItsDepth) {
  const ProductCase c = {13, 80, 2, 1, false, false};
  const std::vector<float> a = RandomFloats(13 * 20, 4);
  const std::vector<float> good = RandomFloats(14 * 96, 5);
  std::vector<float> bad = good;
  std::fill(bad.begin() + 7 * 96, bad.end(),
            std::numeric_limits<float>::quiet_NaN());
  std::vector<float> outs[2] = {RandomFloats(13 * 112, 6),
                                RandomFloats(13 * 112, 6)};
  kernels().product(c.Args(a, good, outs[0]));
  kernels().product(c.Args(a, bad, outs[1]));
  for (int64_t i = 0; i < 6 * 112; ++i) ASSERT_EQ(outs[0][i], outs[1][i]) << i;
  EXPECT_TRUE(std::isnan(outs[1][6 * 112]));
}

TEST_P(MemoryKernelsTest, ActivationsAreTheirFormulas) {
  std::vector<float> z;
  for (float x = -30.0f; x <= 30.0f; x += 0.0037f) z.push_back(x);
  z.insert(z.end(), {0.0f, -0.0f, 1e-30f, -100.0f, 100.0f, 1e6f});
  z.resize((z.size() + 15) / 16 * 16, 1.0f);
  std::vector<float> value(z.size()), slope(z.size()), alone(z.size());
  const auto n = static_cast<int64_t>(z.size());
  for (auto activation : {MemoryActivation::kSilu, MemoryActivation::kGelu}) {
    kernels().activate(activation, z.data(), n, value.data(), slope.data());
    kernels().activate(activation, z.data(), n, alone.data(), nullptr);
    EXPECT_EQ(value, alone);
    for (size_t i = 0; i < z.size(); ++i) {
      const double x = z[i];
      const double s = activation == MemoryActivation::kSilu
                           ? 1.0 / (1.0 + std::exp(-x))
                           : 0.5 * std::erfc(-x / std::sqrt(2.0));
      const double expected_slope =
          activation == MemoryActivation::kSilu
              ? s * (1.0 + x * (1.0 - s))
              : s + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * M_PI);
      ASSERT_NEAR(value[i], x * s, 2e-7 * std::max(1.0, std::abs(x))) << x;
      ASSERT_NEAR(slope[i], expected_slope, 3e-7) << x;
    }
  }
}

TEST_P(MemoryKernelsTest, CombineIsItsFormulaAndTellsTheNorms) {
  constexpr int64_t kN = 16 * 33;
  const std::vector<float> w = RandomFloats(kN, 7), s = RandomFloats(kN, 8),
                           gs = RandomFloats(kN, 9);
  std::vector<float> new_w = RandomFloats(kN, 10), new_s(kN);
  const std::vector<float> gw = new_w;
  const MemorySquares squares =
      kernels().combine({kN, 0.9f, 0.4f, 0.3f, w.data(), s.data(), new_w.data(),
                         gs.data(), new_w.data(), new_s.data()});
  double w_squares = 0.0, s_squares = 0.0;
  for (int64_t i = 0; i < kN; ++i) {
    EXPECT_NEAR(new_w[i], double{0.9f} * w[i] + double{0.4f} * s[i] - gw[i],
                1e-6);
    EXPECT_NEAR(new_s[i], double{0.3f} * s[i] - gs[i], 1e-6);
    w_squares += double{new_w[i]} * new_w[i];
    s_squares += double{new_s[i]} * new_s[i];
  }
  EXPECT_NEAR(squares.weights, w_squares, 1e-5 * w_squares);
  EXPECT_NEAR(squares.momentum, s_squares, 1e-5 * s_squares);
}

TEST_P(MemoryKernelsTest, TransposeMovesEveryElement) {
  for (int64_t rows : {1, 7, 8, 19, 64}) {
    for (int64_t cols : {1, 8, 13, 48}) {
      const std::vector<float> x = RandomFloats(rows * (cols + 2), 11);
      std::vector<float> out(static_cast<size_t>(cols * (rows + 1)));
      kernels().transpose(x.data(), cols + 2, rows, cols, out.data(), rows + 1);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          ASSERT_EQ(out[c * (rows + 1) + r], x[r * (cols + 2) + c]);
        }
      }
    }
  }
}

TEST_P(MemoryKernelsTest, BitsAreThoseOfTheFirstInstructionSet) {
  const MemoryKernels& first = MemoryKernelsFor(IsasOfThisMachine().front());
  constexpr int64_t kRows = 5, kDim = 80;
  const std::vector<float> x = RandomFloats(kRows * kDim, 12),
                           gamma = RandomFloats(kDim, 13),
                           keys = RandomFloats(kRows * kDim, 14),
                           values = RandomFloats(kRows * kDim, 15);
  std::vector<float> results[2];
  for (int side = 0; side < 2; ++side) {
    const MemoryKernels& k = side == 0 ? first : kernels();
    std::vector<float>& all = results[side];
    for (auto norm :
         {MemoryNorm::kNone, MemoryNorm::kLayer, MemoryNorm::kRms}) {
      std::vector<float> out(kRows * kDim), grad(kRows * kDim),
          gamma_grad(kRows * kDim);
      k.output({norm, kRows, kDim, x.data(), gamma.data(), 0, keys.data(), kDim,
                out.data(), kDim});
      k.loss_gradient({norm, 2.0f, kRows, kDim, x.data(), gamma.data(),
                       keys.data(), values.data(), grad.data(),
                       gamma_grad.data()});
      for (const auto& part : {out, grad, gamma_grad}) {
        all.insert(all.end(), part.begin(), part.end());
      }
    }
    std::vector<float> z = RandomFloats(4096, 16), value(4096), slope(4096);
    for (float& v : z) v *= 4.0f;
    for (auto a : {MemoryActivation::kSilu, MemoryActivation::kGelu}) {
      k.activate(a, z.data(), 4096, value.data(), slope.data());
      all.insert(all.end(), value.begin(), value.end());
      all.insert(all.end(), slope.begin(), slope.end());
    }
    k.blend(0.3f, 0.7f, value.data(), 4096, z.data());
    k.multiply(slope.data(), 4096, z.data());
    k.scale(1.7f, z.data(), 4096, value.data());
    all.insert(all.end(), value.begin(), value.end());
    all.push_back(k.sum_of_squares(value.data(), 4096));
    const MemorySquares squares =
        k.combine({4096, 0.9f, 0.4f, 0.3f, z.data(), slope.data(), value.data(),
                   z.data(), value.data(), slope.data()});
    all.push_back(squares.weights);
    all.push_back(squares.momentum);
    all.insert(all.end(), slope.begin(), slope.end());
  }
  EXPECT_EQ(results[0], results[1]);
}

INSTANTIATE_TEST_SUITE_P(Isas, MemoryKernelsTest,
                         testing::ValuesIn(IsasOfThisMachine()),
                         [](const auto& info) {
                           return std::string(IsaName(info.param));
                         });

}  // namespace
}  // namespace headwise
