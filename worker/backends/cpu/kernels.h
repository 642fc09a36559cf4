// The kernels of the CPU backend: plain pointers in, plain pointers out.
//
// Each instruction set has a table of its own; all tables give the same bits.
// Kernels allocate nothing and touch nothing but their arguments, so they may
// run on many threads at once.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_KERNELS_H_
#define HEADWISE_WORKER_BACKENDS_CPU_KERNELS_H_

#include <cstdint>

#include "model/head_plan/kv_type.h"
#include "worker/backends/cpu/isa.h"

namespace headwise {

// A row of activations as int8 with one scale per 32 elements:
//   x[k] ~ scale[k / 32] * q[k],  scale = max |x| / 127 over the 32.
// n is a multiple of 32.
struct QuantizedRow {
  int8_t* q = nullptr;             // [n]
  float* scale = nullptr;          // [n / 32]
  float* scaled_sum = nullptr;     // [n / 32] scale * (sum of q over the 32)
  int32_t* half_offset = nullptr;  // [n / 16] -128 * (sum of q over the 16)
};

// Rows of activations, as the matrix product reads them. Row m starts at
// q + m * n, scale + m * n / 32 and so on.
struct QuantizedRows {
  const int8_t* q = nullptr;
  const float* scale = nullptr;
  const float* scaled_sum = nullptr;
  const int32_t* half_offset = nullptr;
  int64_t n = 0;
};

// How weights are packed: groups of 16 rows; the elements of a group lie so
// that one load brings 16 rows (PackedMatrix has the layouts).
enum class PackedFormat : uint8_t {
  kInt4Half,   // 4 bits in blocks of 32, fp16 scale and minimum
  kInt4Float,  // the same with fp32 scale and minimum
  kInt8Half,   // 8 bits signed in blocks of 32, fp16 scale
  kInt8Float,  // the same with fp32 scale and minimum
  kInt8Short,  // 8 bits signed in blocks of 16, fp32 scale
  kFp32,
  kFp16,
  kBf16,
};

constexpr bool IsQuantized(PackedFormat format) {
  return format < PackedFormat::kFp32;
}

// What happens to a product's result.
enum class ProductSink : uint8_t {
  kStore,     // out[m][row] = result
  kAddExact,  // acc[m][row] += round(2^32 * result)
  kAddFloat,  // out[m][row] = out[m][row] + result (--reduction=fast)
};

// out[m][row - 16 * first_group] = sum over k of weights[row][k] * x[m][k], for
// rows of the groups [first_group, last_group) and m in [0, num_tokens).
//
// Order of summation, for every instruction set and num_tokens: quantized
// weights by blocks of k ascending; a block's int8 products are an exact int32
// dot, and
//   acc = fma(scale_w * scale_x, float(dot), acc);  acc = fma(min_w,
//   scaled_sum, acc) where the format has a minimum.
// Float weights: acc = fma(w[k], x[k], acc) for k ascending.
struct MatMulArgs {
  PackedFormat format = PackedFormat::kFp32;
  const uint8_t* weights =
      nullptr;  // packed; group g starts at g * group_bytes
  int64_t group_bytes = 0;
  int64_t cols = 0;  // k; a multiple of 32 for quantized formats
  int64_t first_group = 0;
  int64_t last_group = 0;
  QuantizedRows rows;        // quantized formats
  const float* x = nullptr;  // float formats: [num_tokens][x_stride]
  int64_t x_stride = 0;
  int64_t num_tokens = 0;
  ProductSink sink = ProductSink::kStore;
  // [num_tokens][out_stride]; column 0 is the first row of first_group.
  float* out = nullptr;
  int64_t* acc = nullptr;  // the same shape, for kAddExact
  int64_t out_stride = 0;  // a multiple of 16
  // kAddExact: set to 1 if a result was NaN, infinite or not below 2^19 in
  // size.
  int* not_exact = nullptr;
};

using KvElement = KvType;

// One block of the KV cache of one unit: 64 positions.
//   keys    [head_dim][64]  transposed
//   values  [64][head_dim]
//   key_scales, value_scales  [64] fp32, kInt8 only
// Bytes of a block, and where its parts begin. head_dim is a multiple of 16, at
// most 1024.
struct KvLayout {
  KvElement element = KvElement::kFp16;
  int64_t head_dim = 0;

  static constexpr int64_t kPositions = 64;
  constexpr int64_t element_bytes() const {
    return element == KvElement::kFp32   ? 4
           : element == KvElement::kInt8 ? 1
                                         : 2;
  }
  constexpr int64_t values_offset() const {
    return kPositions * head_dim * element_bytes();
  }
  constexpr int64_t scales_offset() const { return 2 * values_offset(); }
  constexpr int64_t block_bytes() const {
    return scales_offset() +
           (element == KvElement::kInt8 ? 2 * kPositions * 4 : 0);
  }
};

// Attention of query rows over positions [begin, end) of one unit's cache.
// Row r sees positions [visible_begin[r], visible_end[r]) of them; rows that
// see none give out = 0, lse = -inf. Nothing that a row does not see has an
// effect on its bits. Blocks of which no row sees a position are not read and
// may be nullptr; elsewhere whole tiles of 16 positions may be read. Arguments
// do not overlap.
//
//   queries  [num_rows][head_dim]  rotated and multiplied by softmax_scale
//   out      [num_rows][head_dim]  normalized
//   lse      [num_rows]            natural log
//
// Order of summation (docs/architecture.md, "One order"): chunks of 256
// positions from `begin`, a multiple of 256; in a chunk the maximum, then 16
// partial sums of exp in position order joined by a tree, then values in
// position order.
struct AttendArgs {
  KvLayout layout;
  const uint8_t* const* blocks =
      nullptr;  // block b: positions [64 b, 64 b + 64)
  int64_t begin = 0;
  int64_t end = 0;
  const float* queries = nullptr;
  const int64_t* visible_end = nullptr;  // [num_rows], never descending
  int64_t num_rows = 0;
  float* out = nullptr;
  float* lse = nullptr;
  float* scratch = nullptr;  // AttendScratchFloats(num_rows, head_dim) floats
  // [num_rows], never descending; nullptr: every row sees from `begin` on.
  const int64_t* visible_begin = nullptr;
};

inline constexpr int64_t kAttendChunk = 256;  // positions
// Converted keys and values of a chunk, and scores of a tile of rows.
inline int64_t AttendScratchFloats(int64_t num_rows, int64_t head_dim) {
  return 2 * kAttendChunk * head_dim + 8 * kAttendChunk + 2 * num_rows + 64;
}

// out[r][j - begin] = query r times key j, for positions j of [begin, end),
// with the bits that attention uses. `begin` is a multiple of 16; what a row
// may see is the caller's business.
//   queries [num_rows][head_dim]  as for attention
struct ScoresArgs {
  KvLayout layout;
  const uint8_t* const* blocks =
      nullptr;  // block b: positions [64 b, 64 b + 64)
  int64_t begin = 0;
  int64_t end = 0;
  const float* queries = nullptr;
  int64_t num_rows = 0;
  float* out = nullptr;    // [num_rows][out_stride]
  int64_t out_stride = 0;  // >= end - begin
};

// Merges a part into (out, lse), both over disjoint positions, the part's after
// the others:
//   lse = log(exp(lse) + exp(part_lse)), out likewise. An empty part has
// lse = -inf and changes nothing, so two empty ones stay empty. The bits depend
// on the order of merging.
//   out, part_out [num_rows][head_dim]; lse, part_lse [num_rows]
// head_dim is a multiple of 16.
struct MergeArgs {
  float* out = nullptr;
  float* lse = nullptr;
  const float* part_out = nullptr;
  const float* part_lse = nullptr;
  int64_t num_rows = 0;
  int64_t head_dim = 0;
};

// One position's key and value into its slot of a block.
struct AppendArgs {
  KvLayout layout;
  uint8_t* block = nullptr;
  int64_t slot = 0;              // 0 to 63
  const float* key = nullptr;    // [head_dim]
  const float* value = nullptr;  // [head_dim]
};

// max and sum of exp(x - max) over n values; sum in 16 lanes and a tree. If a
// value is NaN, so are max and sum; if max is infinite, sum is NaN.
struct SoftmaxStats {
  float max = 0.0f;
  float sum = 0.0f;
};

struct Kernels {
  Isa isa = Isa::kAvx2;

  // out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]; n a multiple of 16.
  void (*rms_norm)(const float* x, const float* weight, float epsilon,
                   int64_t n, float* out);
  // Quantizes n elements; n a multiple of 32.
  void (*quantize)(const float* x, int64_t n, const QuantizedRow& out);
  void (*matmul)(const MatMulArgs& args);
  // cos and sin of position * inverse_frequencies[i], times magnitude, fp32.
  void (*rope_angles)(double position, const double* inverse_frequencies,
                      int64_t num_pairs, double magnitude, float* cosines,
                      float* sines);
  // out[i] = silu(gate[i]) * up[i]; n a multiple of 16.
  void (*silu_multiply)(const float* gate, const float* up, int64_t n,
                        float* out);
  void (*append)(const AppendArgs& args);
  void (*attend)(const AttendArgs& args);
  void (*scores)(const ScoresArgs& args);
  void (*merge)(const MergeArgs& args);
  // x[i] += 2^-32 * acc[i]; n a multiple of 16.
  void (*add_fixed_point)(const int64_t* acc, int64_t n, float* x);
  SoftmaxStats (*softmax_stats)(const float* x, int64_t n);
  // p[i] = exp(x[i] - max)
  void (*exp_below)(const float* x, int64_t n, float max, float* p);
  // n >= 1; NaN if a value is NaN.
  float (*max_of)(const float* x, int64_t n);
  // Natural logarithm; x is positive and normal, or +inf or NaN, which stay.
  float (*log_one)(float x);
  float (*exp_one)(float x);  // at most e^88; NaN stays
};

// The table of an instruction set that this machine has.
const Kernels& KernelsFor(Isa isa);

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_KERNELS_H_
