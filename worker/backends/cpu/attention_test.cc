// Partial attention and merge against double arithmetic, and the bits over
// instruction sets, groupings of rows and cuts of the context.

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {
namespace {

constexpr float kNegativeInfinity = -__builtin_huge_valf();

// One unit's cache of random keys and values, and queries over it.
struct Case {
  KvLayout layout;
  int64_t context_len;
  std::vector<float> keys, values;  // [context_len][head_dim], as given
  std::vector<AlignedBuffer<uint8_t>> storage;
  std::vector<const uint8_t*> blocks;

  Case(const Kernels& kernels, KvElement element, int64_t head_dim,
       int64_t length, uint32_t seed)
      : layout{element, head_dim}, context_len(length) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    keys.resize(static_cast<size_t>(length * head_dim));
    values.resize(keys.size());
    for (float& v : keys) v = normal(random);
    for (float& v : values) v = normal(random);
    for (int64_t p = 0; p < length; ++p) {
      if (p % KvLayout::kPositions == 0) {
        storage.emplace_back(layout.block_bytes());
        std::memset(storage.back().data(), 0,
                    static_cast<size_t>(layout.block_bytes()));
      }
      kernels.append({layout, storage.back().data(), p % KvLayout::kPositions,
                      keys.data() + p * head_dim,
                      values.data() + p * head_dim});
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

// Row r in double over positions [begin, min(end, visible)).
void Reference(const Case& c, const float* query, int64_t begin, int64_t end,
               std::vector<double>* out, double* lse) {
  const int64_t dim = c.layout.head_dim;
  std::vector<double> scores;
  double max = -1e300;
  for (int64_t p = begin; p < end; ++p) {
    double score = 0.0;
    for (int64_t d = 0; d < dim; ++d) {
      score += double{query[d]} * c.keys[p * dim + d];
    }
    scores.push_back(score);
    max = std::max(max, score);
  }
  double sum = 0.0;
  out->assign(static_cast<size_t>(dim), 0.0);
  for (int64_t p = begin; p < end; ++p) {
    const double weight = std::exp(scores[p - begin] - max);
    sum += weight;
    for (int64_t d = 0; d < dim; ++d) {
      (*out)[d] += weight * c.values[p * dim + d];
    }
  }
  for (double& v : *out) v /= sum;
  *lse = max + std::log(sum);
}

struct Param {
  Isa isa;
  KvElement element;
};

class AttendTest : public testing::TestWithParam<Param> {
 protected:
  const Kernels& kernels() const { return KernelsFor(GetParam().isa); }
  // Relative step of a stored element: 2^-24, 2^-11, 2^-8, 1/254 of the
  // largest.
  double Step() const {
    switch (GetParam().element) {
      case KvElement::kFp32:
        return 0x1p-24;
      case KvElement::kFp16:
        return 0x1p-11;
      case KvElement::kBf16:
        return 0x1p-8;
      case KvElement::kInt8:
        return 4.5 / 254;  // |x| stays below 4.5 here
    }
    return 0.0;
  }
};

TEST_P(AttendTest, EqualsPlainAttentionAtEveryEdge) {
  for (int64_t dim : {16, 64, 80}) {
    for (int64_t length : {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 600}) {
      SCOPED_TRACE(testing::Message() << "dim=" << dim << " n=" << length);
      const Case c(kernels(), GetParam().element, dim, length, 21);
      const int64_t rows = length < 3 ? 1 : 3;
      const std::vector<float> queries = RandomQueries(rows, dim, 22);
      std::vector<int64_t> visible;
      for (int64_t r = 0; r < rows; ++r)
        visible.push_back(length - rows + r + 1);
      const Partial partial = Attend(kernels(), c, queries, visible, 0, length);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<double> out;
        double lse;
        Reference(c, queries.data() + r * dim, 0, visible[r], &out, &lse);
        // A score moves by at most |q|_1 * step * max|k|; outputs by twice that
        // relative to the largest value, plus the value's own step.
        double norm = 0.0;
        for (int64_t d = 0; d < dim; ++d) {
          norm += std::abs(queries[r * dim + d]);
        }
        const double score_error = norm * Step() * 4.5 + 1e-5;
        EXPECT_NEAR(partial.lse[r], lse, score_error);
        for (int64_t d = 0; d < dim; ++d) {
          ASSERT_NEAR(partial.out[r * dim + d], out[d],
                      2 * score_error * 4.5 + Step() * 4.5);
        }
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

TEST_P(AttendTest, LargeScoresStayFinite) {
  const int64_t dim = 64, length = 300;
  const Case c(kernels(), GetParam().element, dim, length, 61);
  for (float size : {1e-6f, 80.0f, 1e4f}) {
    std::vector<float> query(static_cast<size_t>(dim), size);
    const Partial partial = Attend(kernels(), c, query, {length}, 0, length);
    EXPECT_TRUE(std::isfinite(partial.lse[0])) << size;
    for (float v : partial.out) ASSERT_TRUE(std::isfinite(v)) << size;
  }
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
