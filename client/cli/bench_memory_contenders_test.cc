#include "client/cli/bench_memory_contenders.h"

#include <algorithm>
#include <cmath>

#include "client/cli/bench_memory_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr int64_t kDim = 16;
constexpr int64_t kQueries = 5;

// Attention by its definition, in double, over the last `window` positions.
std::vector<double> Defined(const std::vector<float>& keys,
                            const std::vector<float>& values,
                            const float* query, int64_t window) {
  const auto length = static_cast<int64_t>(keys.size()) / kDim;
  std::vector<double> out(kDim, 0.0);
  double total = 0;
  for (int64_t p = std::max<int64_t>(0, length - window); p < length; ++p) {
    double dot = 0;
    for (int64_t i = 0; i < kDim; ++i) {
      dot += double{query[i]} * keys[static_cast<size_t>(p * kDim + i)];
    }
    const double weight = std::exp(kDim * dot);
    total += weight;
    for (int64_t i = 0; i < kDim; ++i) {
      out[static_cast<size_t>(i)] +=
          weight * values[static_cast<size_t>(p * kDim + i)];
    }
  }
  for (double& x : out) x /= total;
  return out;
}

class AttentionContenderTest : public testing::TestWithParam<int64_t> {
 protected:
  void Write(MemoryContender& contender, int64_t count) {
    const auto first = static_cast<int64_t>(keys_.size()) / kDim;
    keys_.resize(keys_.size() + static_cast<size_t>(count * kDim));
    values_.resize(keys_.size());
    float* keys = keys_.data() + first * kDim;
    float* values = values_.data() + first * kDim;
    stream_.FillerKeys(first, count, keys);
    stream_.FillerValues(first, count, values);
    ASSERT_TRUE(contender
                    .Write({.num_rows = count,
                            .keys = keys,
                            .values = values,
                            .row_stride = kDim})
                    .ok());
  }

  const MemoryStream stream_{1, 1, kDim};
  std::vector<float> keys_, values_;
};

// fp32 blocks, so that rounding is of sums alone: weights are at most e^16 and
// scores off by 16 * 2^-22, so outputs of unit vectors by less than 1e-4.
TEST_P(AttentionContenderTest, EqualsItsDefinitionWhereverItIsRead) {
  const int64_t window = GetParam();
  const KvLayout layout = {KvElement::kFp32, kDim};
  AttentionContender contender(layout, window, KernelsFor(Isa::kAvx2));
  std::vector<float> queries(kQueries * kDim), out(queries.size());
  stream_.NeedleKeys(0, kQueries, queries.data());
  for (const int64_t count : {1, 62, 1, 200, 600, 9000}) {
    Write(contender, count);
    contender.Read(queries.data(), kQueries, out.data());
    for (int64_t q = 0; q < kQueries; ++q) {
      const std::vector<double> defined =
          Defined(keys_, values_, queries.data() + q * kDim,
                  window == 0 ? 1 << 30 : window);
      for (int64_t i = 0; i < kDim; ++i) {
        EXPECT_NEAR(out[static_cast<size_t>(q * kDim + i)],
                    defined[static_cast<size_t>(i)], 1e-4);
      }
    }
  }
  const int64_t num_blocks =
      window == 0 ? (9864 + 63) / 64 : (window + 63) / 64 + 1;
  EXPECT_LE(contender.state_bytes(), num_blocks * layout.block_bytes());
  if (window == 0) {
    EXPECT_EQ(contender.state_bytes(), num_blocks * layout.block_bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, AttentionContenderTest,
                         testing::Values(0, 1, 64, 100, 512));

TEST(HeadContenderTest, HasTheHeadsStateAndReadsWhatItWrote) {
  const MemorySpec spec = {.head_dim = kDim,
                           .num_layers = 1,
                           .hidden_dim = 0,
                           .residual = false,
                           .chunk_len = 1};
  const MemoryStream stream(1, 1, kDim);
  HeadContender contender(MemoryHead(spec, stream.InitialWeights(spec, 0)),
                          MemoryKernelsFor(Isa::kAvx2));
  std::vector<float> key(kDim), value(kDim), out(kDim);
  stream.NeedleKeys(0, 1, key.data());
  stream.Candidates(0, 1, value.data());
  // The delta rule with unit keys: one step of half the loss's scale is exact.
  const float theta = 0.5f, zero = 0.0f;
  ASSERT_TRUE(contender
                  .Write({.num_rows = 1,
                          .keys = key.data(),
                          .values = value.data(),
                          .row_stride = kDim,
                          .theta = &theta,
                          .eta = &zero,
                          .alpha = &zero})
                  .ok());
  contender.Read(key.data(), 1, out.data());
  EXPECT_THAT(out, testing::Pointwise(testing::FloatNear(1e-6f), value));
  EXPECT_EQ(contender.state_bytes(), 2 * 4 * kDim * kDim);
}

}  // namespace
}  // namespace headwise
