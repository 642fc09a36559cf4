// Partial attention and merge against double arithmetic, and the bits over
// instruction sets, groupings of rows and cuts of the context.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "worker/backends/cpu/attention_case.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {
namespace {

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
      const Partial partial =
          Attend(kernels(), c, queries, {visible}, 0, length);
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
  const Kernels& first = *AllTestedKernels().front().kernels;
  const int64_t dim = 64, length = 700, tokens = 23, g = 3;
  const Case c(kernels(), GetParam().element, dim, length, 31);
  const Case same(first, GetParam().element, dim, length, 31);
  const std::vector<float> queries = RandomQueries(tokens * g, dim, 32);
  std::vector<int64_t> visible;
  for (int64_t r = 0; r < tokens * g; ++r) {
    visible.push_back(length - tokens + r / g + 1);
  }
  for (int64_t begin : {0, 256, 512}) {
    const Partial all = Attend(kernels(), c, queries, {visible}, begin, length);
    for (int64_t r = 0; r < tokens * g; ++r) {
      const std::vector<float> query(queries.begin() + r * dim,
                                     queries.begin() + (r + 1) * dim);
      const Partial one =
          Attend(first, same, query, {{visible[r]}}, begin, length);
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
      Attend(kernels(), c, queries, {{256, 300}}, /*begin=*/256, /*end=*/300);
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
  const Partial whole = Attend(kernels(), c, queries, {visible}, 0, length);
  for (int64_t cut : {256, 512, 768}) {
    Partial merged = Attend(kernels(), c, queries, {visible}, 0, cut);
    const Partial tail = Attend(kernels(), c, queries, {visible}, cut, length);
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
    Partial both_empty = empty;
    kernels().merge({both_empty.out.data(), both_empty.lse.data(),
                     empty.out.data(), empty.lse.data(), rows, dim});
    EXPECT_EQ(both_empty, empty);
  }
}

TEST_P(AttendTest, SmallAndLargeScoresEqualPlainAttention) {
  const int64_t dim = 64, length = 300;
  const Case c(kernels(), GetParam().element, dim, length, 61);
  for (float size : {1e-6f, 80.0f}) {
    SCOPED_TRACE(size);
    std::vector<float> query(static_cast<size_t>(dim), size);
    const Partial partial = Attend(kernels(), c, query, {{length}}, 0, length);
    ExpectNear(partial, 0, Reference(c, query.data(), 0, length));
  }
}

TEST_P(AttendTest, HugeScoresStayFinite) {
  const int64_t dim = 64, length = 300;
  const Case c(kernels(), GetParam().element, dim, length, 61);
  std::vector<float> query(static_cast<size_t>(dim), 1e4f);
  const Partial partial = Attend(kernels(), c, query, {{length}}, 0, length);
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
      Attend(kernels(), c, queries, {{length, length}}, 0, length);
  EXPECT_TRUE(std::isnan(partial.lse[0]));
  for (int64_t d = 0; d < dim; ++d) ASSERT_TRUE(std::isnan(partial.out[d]));
  EXPECT_TRUE(std::isfinite(partial.lse[1]));
}

INSTANTIATE_TEST_SUITE_P(All, AttendTest, testing::ValuesIn(AllAttendParams()),
                         AttendParamName);

}  // namespace
}  // namespace headwise
