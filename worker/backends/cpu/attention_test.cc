// Partial attention and merge against double arithmetic, and the bits over
// instruction sets, groupings of rows and cuts of the context.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/files/half_floats.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {
namespace {

constexpr float kNegativeInfinity = -__builtin_huge_valf();

// What the cache keeps of a vector, by the definition of each element type.
std::vector<float> Stored(KvElement element, const float* x, int64_t n) {
  std::vector<float> stored(x, x + n);
  float max = 0.0f;
  for (float v : stored) max = std::max(max, std::abs(v));
  const float scale = max / 127.0f;
  for (float& v : stored) {
    switch (element) {
      case KvElement::kFp32:
        break;
      case KvElement::kFp16:
        v = Fp16ToFloat(FloatToFp16(v));
        break;
      case KvElement::kBf16:
        v = Bf16ToFloat(FloatToBf16(v));
        break;
      case KvElement::kInt8:
        v = scale * std::nearbyint(v * (1.0f / scale));
        break;
    }
  }
  return stored;
}

// One unit's cache of random keys and values. `keys` and `values` are what is
// stored, so that a reference over them is as exact for int8 as for fp32.
struct Case {
  KvLayout layout;
  int64_t context_len;
  std::vector<float> keys, values;  // [context_len][head_dim]
  std::vector<AlignedBuffer<uint8_t>> storage;
  std::vector<const uint8_t*> blocks;

  Case(const Kernels& kernels, KvElement element, int64_t head_dim,
       int64_t length, uint32_t seed)
      : layout{element, head_dim}, context_len(length) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> given_keys(static_cast<size_t>(length * head_dim));
    std::vector<float> given_values(given_keys.size());
    for (float& v : given_keys) v = normal(random);
    for (float& v : given_values) v = normal(random);
    for (int64_t p = 0; p < length; ++p) {
      if (p % KvLayout::kPositions == 0) {
        storage.emplace_back(layout.block_bytes());
        std::memset(storage.back().data(), 0,
                    static_cast<size_t>(layout.block_bytes()));
      }
      const float* key = given_keys.data() + p * head_dim;
      const float* value = given_values.data() + p * head_dim;
      kernels.append({layout, storage.back().data(), p % KvLayout::kPositions,
                      key, value});
      const std::vector<float> stored_key = Stored(element, key, head_dim);
      const std::vector<float> stored_value = Stored(element, value, head_dim);
      keys.insert(keys.end(), stored_key.begin(), stored_key.end());
      values.insert(values.end(), stored_value.begin(), stored_value.end());
    }
    for (AlignedBuffer<uint8_t>& block : storage) {
      blocks.push_back(block.data());
    }
  }
};

struct Partial {
  std::vector<float> out;
  std::vector<float> lse;
  bool operator==(const Partial& other) const {
    return std::memcmp(out.data(), other.out.data(), out.size() * 4) == 0 &&
           std::memcmp(lse.data(), other.lse.data(), lse.size() * 4) == 0;
  }
};

Partial Attend(const Kernels& kernels, const Case& c,
               const std::vector<float>& queries,
               const std::vector<int64_t>& visible, int64_t begin,
               int64_t end) {
  const auto rows = static_cast<int64_t>(visible.size());
  const int64_t dim = c.layout.head_dim;
  Partial partial = {std::vector<float>(static_cast<size_t>(rows * dim)),
                     std::vector<float>(static_cast<size_t>(rows))};
  AlignedBuffer<float> scratch(AttendScratchFloats(rows, dim));
  AttendArgs args;
  args.layout = c.layout;
  args.blocks = c.blocks.data();
  args.begin = begin;
  args.end = end;
  args.queries = queries.data();
  args.visible_end = visible.data();
  args.num_rows = rows;
  args.out = partial.out.data();
  args.lse = partial.lse.data();
  args.scratch = scratch.data();
  kernels.attend(args);
  return partial;
}

std::vector<float> RandomQueries(int64_t rows, int64_t dim, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  std::vector<float> queries(static_cast<size_t>(rows * dim));
  for (float& v : queries) v = normal(random);
  return queries;
}

// A row in double, and how far fp32 arithmetic may be from it.
struct Exact {
  std::vector<double> out;
  double lse = 0.0;
  double out_error = 0.0;
  double lse_error = 0.0;
};

// The bounds, in roundings of u = 2^-24, with S the largest sum of |q k|:
// - a score is a chain of head_dim FMAs: head_dim S; S >= |score|, so that
//   taking the maximum off it adds 2 S;
// - a term of the sum has that error and the 3 of exp; the sum adds 16 + 4
//   per chunk of 256 and 5 for joining it to what was before;
// - lse adds a logarithm (4 |lse|) and a sum (|lse|);
// - an output is a chain over context_len, an FMA each, a factor per chunk and
//   a product with 1 / sum; the error of terms counts above and below.
void SetErrors(int64_t num_positions, int64_t head_dim, double size,
               double max_value, Exact* exact) {
  const double chunks = std::ceil(static_cast<double>(num_positions) / 256);
  const double term = (static_cast<double>(head_dim) + 2) * size + 3;
  const double sum = term + 25 * chunks;
  exact->lse_error = 0x1p-24 * (sum + 5 * std::abs(exact->lse) + 1);
  exact->out_error =
      0x1p-24 * max_value *
      (term + sum + static_cast<double>(num_positions) + 6 * chunks + 4);
}

Exact Reference(const Case& c, const float* query, int64_t begin, int64_t end) {
  const int64_t dim = c.layout.head_dim;
  Exact exact;
  std::vector<double> scores;
  double max = -1e300, size = 0.0, max_value = 0.0;
  for (int64_t p = begin; p < end; ++p) {
    double score = 0.0, absolute = 0.0;
    for (int64_t d = 0; d < dim; ++d) {
      const double term = double{query[d]} * c.keys[p * dim + d];
      score += term;
      absolute += std::abs(term);
    }
    scores.push_back(score);
    max = std::max(max, score);
    size = std::max(size, absolute);
  }
  double sum = 0.0;
  exact.out.assign(static_cast<size_t>(dim), 0.0);
  for (int64_t p = begin; p < end; ++p) {
    const double weight = std::exp(scores[p - begin] - max);
    sum += weight;
    for (int64_t d = 0; d < dim; ++d) {
      const double value = c.values[p * dim + d];
      exact.out[d] += weight * value;
      max_value = std::max(max_value, std::abs(value));
    }
  }
  for (double& v : exact.out) v /= sum;
  exact.lse = max + std::log(sum);
  SetErrors(end - begin, dim, size, max_value, &exact);
  return exact;
}

void ExpectNear(const Partial& partial, int64_t row, const Exact& exact) {
  EXPECT_NEAR(partial.lse[row], exact.lse, exact.lse_error);
  const auto dim = static_cast<int64_t>(exact.out.size());
  for (int64_t d = 0; d < dim; ++d) {
    ASSERT_NEAR(partial.out[row * dim + d], exact.out[d], exact.out_error);
  }
}

struct Param {
  Isa isa;
  KvElement element;
};

class AttendTest : public testing::TestWithParam<Param> {
 protected:
  const Kernels& kernels() const { return KernelsFor(GetParam().isa); }
};

// Half a step of each type: 2^-12 and 2^-9 relative to the value; 1/254 of the
// vector's largest. The bounds below then hold for what is stored.
TEST_P(AttendTest, WhatIsStoredIsWithinHalfAStep) {
  const std::vector<float> x = RandomQueries(1, 64, 20);
  const KvElement element = GetParam().element;
  const std::vector<float> stored = Stored(element, x.data(), 64);
  float max = 0.0f;
  for (float v : x) max = std::max(max, std::abs(v));
  for (size_t i = 0; i < x.size(); ++i) {
    const float half = element == KvElement::kFp32   ? 0.0f
                       : element == KvElement::kFp16 ? std::abs(x[i]) * 0x1p-11f
                       : element == KvElement::kBf16 ? std::abs(x[i]) * 0x1p-8f
                                                     : max / 254 * 1.0001f;
    EXPECT_NEAR(stored[i], x[i], half);
  }
}

TEST_P(AttendTest, EqualsPlainAttentionAtEveryEdge) {
  for (int64_t dim : {16, 64, 80}) {
    for (int64_t length : {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 600}) {
      SCOPED_TRACE(testing::Message() << "dim=" << dim << " n=" << length);
      const Case c(kernels(), GetParam().element, dim, length, 21);
      const int64_t rows = length < 3 ? 1 : 3;
      const std::vector<float> queries = RandomQueries(rows, dim, 22);
      std::vector<int64_t> visible;
      for (int64_t r = 0; r < rows; ++r) {
        visible.push_back(length - rows + r + 1);
      }
      const Partial partial = Attend(kernels(), c, queries, visible, 0, length);
      for (int64_t r = 0; r < rows; ++r) {
        ExpectNear(partial, r,
                   Reference(c, queries.data() + r * dim, 0, visible[r]));
      }
    }
  }
}

// Prefill equals decode: rows together give the bits that each gives alone, on
// the first instruction set.
TEST_P(AttendTest, BitsOfManyRowsAreThoseOfOne) {
  const Kernels& first = KernelsFor(IsasOfThisMachine().front());
  const int64_t dim = 64, length = 700, tokens = 23, g = 3;
  const Case c(kernels(), GetParam().element, dim, length, 31);
  const Case same(first, GetParam().element, dim, length, 31);
  const std::vector<float> queries = RandomQueries(tokens * g, dim, 32);
  std::vector<int64_t> visible;
  for (int64_t r = 0; r < tokens * g; ++r) {
    visible.push_back(length - tokens + r / g + 1);
  }
  for (int64_t begin : {0, 256, 512}) {
    const Partial all = Attend(kernels(), c, queries, visible, begin, length);
    for (int64_t r = 0; r < tokens * g; ++r) {
      const std::vector<float> query(queries.begin() + r * dim,
                                     queries.begin() + (r + 1) * dim);
      const Partial one =
          Attend(first, same, query, {visible[r]}, begin, length);
      ASSERT_EQ(std::memcmp(one.out.data(), all.out.data() + r * dim, dim * 4),
                0)
          << "row " << r << " begin " << begin;
      ASSERT_EQ(one.lse[0], all.lse[r]);
    }
  }
}

TEST_P(AttendTest, RowsThatSeeNothingAreEmpty) {
  const Case c(kernels(), GetParam().element, 64, 300, 41);
  const std::vector<float> queries = RandomQueries(2, 64, 42);
  const Partial partial =
      Attend(kernels(), c, queries, {256, 300}, /*begin=*/256, /*end=*/300);
  EXPECT_EQ(partial.lse[0], kNegativeInfinity);
  for (int d = 0; d < 64; ++d) EXPECT_EQ(partial.out[d], 0.0f);
  EXPECT_TRUE(std::isfinite(partial.lse[1]));
}

// Cutting at any chunk and merging in order gives plain attention again, and an
// empty part changes no bit.
TEST_P(AttendTest, MergedPartsEqualTheWhole) {
  const int64_t dim = 64, length = 1000, rows = 3;
  const Case c(kernels(), GetParam().element, dim, length, 51);
  const std::vector<float> queries = RandomQueries(rows, dim, 52);
  const std::vector<int64_t> visible(rows, length);
  const Partial whole = Attend(kernels(), c, queries, visible, 0, length);
  for (int64_t cut : {256, 512, 768}) {
    Partial merged = Attend(kernels(), c, queries, visible, 0, cut);
    const Partial tail = Attend(kernels(), c, queries, visible, cut, length);
    kernels().merge({merged.out.data(), merged.lse.data(), tail.out.data(),
                     tail.lse.data(), rows, dim});
    for (int64_t r = 0; r < rows; ++r) {
      // |lse| < 16: each stored lse moves a weight by 2^-20, exp and products
      // by a few ulp more.
      EXPECT_NEAR(merged.lse[r], whole.lse[r], 0x1p-19);
      for (int64_t d = 0; d < dim; ++d) {
        ASSERT_NEAR(merged.out[r * dim + d], whole.out[r * dim + d],
                    0x1p-18 * 4.5);
      }
    }
    const Partial before = merged;
    const Partial empty = {std::vector<float>(rows * dim, 0.0f),
                           std::vector<float>(rows, kNegativeInfinity)};
    kernels().merge({merged.out.data(), merged.lse.data(), empty.out.data(),
                     empty.lse.data(), rows, dim});
    EXPECT_EQ(merged, before);
    Partial from_empty = empty;
    kernels().merge({from_empty.out.data(), from_empty.lse.data(),
                     before.out.data(), before.lse.data(), rows, dim});
    EXPECT_EQ(from_empty, before);
  }
}

TEST_P(AttendTest, SmallAndLargeScoresEqualPlainAttention) {
  const int64_t dim = 64, length = 300;
  const Case c(kernels(), GetParam().element, dim, length, 61);
  for (float size : {1e-6f, 80.0f}) {
    SCOPED_TRACE(size);
    std::vector<float> query(static_cast<size_t>(dim), size);
    const Partial partial = Attend(kernels(), c, query, {length}, 0, length);
    ExpectNear(partial, 0, Reference(c, query.data(), 0, length));
  }
}

TEST_P(AttendTest, HugeScoresStayFinite) {
  const int64_t dim = 64, length = 300;
  const Case c(kernels(), GetParam().element, dim, length, 61);
  std::vector<float> query(static_cast<size_t>(dim), 1e4f);
  const Partial partial = Attend(kernels(), c, query, {length}, 0, length);
  EXPECT_TRUE(std::isfinite(partial.lse[0]));
  for (float v : partial.out) ASSERT_TRUE(std::isfinite(v));
}

// A score that is NaN makes its row NaN, never a finite wrong number.
TEST_P(AttendTest, NanScoresGiveNanOutputs) {
  const int64_t dim = 64, length = 300;
  const Case c(kernels(), GetParam().element, dim, length, 71);
  std::vector<float> queries = RandomQueries(2, dim, 72);
  queries[5] = std::nanf("");
  const Partial partial =
      Attend(kernels(), c, queries, {length, length}, 0, length);
  EXPECT_TRUE(std::isnan(partial.lse[0]));
  for (int64_t d = 0; d < dim; ++d) ASSERT_TRUE(std::isnan(partial.out[d]));
  EXPECT_TRUE(std::isfinite(partial.lse[1]));
}

std::vector<Param> AllParams() {
  std::vector<Param> params;
  for (Isa isa : IsasOfThisMachine()) {
    for (KvElement element : {KvElement::kFp32, KvElement::kFp16,
                              KvElement::kBf16, KvElement::kInt8}) {
      params.push_back({isa, element});
    }
  }
  return params;
}

std::string ParamName(const testing::TestParamInfo<Param>& info) {
  const char* const names[] = {"fp32", "fp16", "bf16", "int8"};
  return std::string(IsaName(info.param.isa)) + "_" +
         names[static_cast<int>(info.param.element)];
}

INSTANTIATE_TEST_SUITE_P(All, AttendTest, testing::ValuesIn(AllParams()),
                         ParamName);

}  // namespace
}  // namespace headwise
