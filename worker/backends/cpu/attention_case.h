// A unit's cache of random keys and values, the calls that the tests of
// attention make on it, and attention in double to compare with.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_ATTENTION_CASE_H_
#define HEADWISE_WORKER_BACKENDS_CPU_ATTENTION_CASE_H_

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
#include "worker/backends/cpu/tested_kernels.h"

namespace headwise {

inline constexpr float kNegativeInfinity = -__builtin_huge_valf();

// What the cache keeps of a vector, by the definition of each element type.
inline std::vector<float> Stored(KvElement element, const float* x, int64_t n) {
  std::vector<float> stored(static_cast<size_t>(n));
  std::copy(x, x + n, stored.begin());
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

// What each row sees: [begin, end); no `begin`: from the start.
struct Visible {
  std::vector<int64_t> end;
  std::vector<int64_t> begin = {};
};

inline Partial AttendBlocks(const Kernels& kernels, const KvLayout& layout,
                            const std::vector<const uint8_t*>& blocks,
                            const std::vector<float>& queries,
                            const Visible& visible, int64_t begin,
                            int64_t end) {
  const auto rows = static_cast<int64_t>(visible.end.size());
  const int64_t dim = layout.head_dim;
  Partial partial = {std::vector<float>(static_cast<size_t>(rows * dim)),
                     std::vector<float>(static_cast<size_t>(rows))};
  AlignedBuffer<float> scratch(AttendScratchFloats(rows, dim));
  AttendArgs args;
  args.layout = layout;
  args.blocks = blocks.data();
  args.begin = begin;
  args.end = end;
  args.queries = queries.data();
  if (!visible.begin.empty()) args.visible_begin = visible.begin.data();
  args.visible_end = visible.end.data();
  args.num_rows = rows;
  args.out = partial.out.data();
  args.lse = partial.lse.data();
  args.scratch = scratch.data();
  kernels.attend(args);
  return partial;
}

inline Partial Attend(const Kernels& kernels, const Case& c,
                      const std::vector<float>& queries, const Visible& visible,
                      int64_t begin, int64_t end) {
  return AttendBlocks(kernels, c.layout, c.blocks, queries, visible, begin,
                      end);
}

inline std::vector<float> RandomQueries(int64_t rows, int64_t dim,
                                        uint32_t seed) {
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
inline void SetErrors(int64_t num_positions, int64_t head_dim, double size,
                      double max_value, Exact* exact) {
  const double chunks = std::ceil(static_cast<double>(num_positions) / 256);
  const double term = (static_cast<double>(head_dim) + 2) * size + 3;
  const double sum = term + 25 * chunks;
  exact->lse_error = 0x1p-24 * (sum + 5 * std::abs(exact->lse) + 1);
  exact->out_error =
      0x1p-24 * max_value *
      (term + sum + static_cast<double>(num_positions) + 6 * chunks + 4);
}

inline Exact Reference(const Case& c, const float* query, int64_t begin,
                       int64_t end) {
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

inline void ExpectNear(const Partial& partial, int64_t row,
                       const Exact& exact) {
  EXPECT_NEAR(partial.lse[row], exact.lse, exact.lse_error);
  const auto dim = static_cast<int64_t>(exact.out.size());
  for (int64_t d = 0; d < dim; ++d) {
    ASSERT_NEAR(partial.out[row * dim + d], exact.out[d], exact.out_error);
  }
}

struct AttendParam {
  TestedKernels tested;
  KvElement element;
};

class AttendTest : public testing::TestWithParam<AttendParam> {
 protected:
  const Kernels& kernels() const { return *GetParam().tested.kernels; }
};

inline std::vector<AttendParam> AllAttendParams() {
  std::vector<AttendParam> params;
  for (const TestedKernels& tested : AllTestedKernels()) {
    for (KvElement element : {KvElement::kFp32, KvElement::kFp16,
                              KvElement::kBf16, KvElement::kInt8}) {
      params.push_back({tested, element});
    }
  }
  return params;
}

inline std::string AttendParamName(
    const testing::TestParamInfo<AttendParam>& info) {
  const char* const names[] = {"fp32", "fp16", "bf16", "int8"};
  return std::string(info.param.tested.name) + "_" +
         names[static_cast<int>(info.param.element)];
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_ATTENTION_CASE_H_
