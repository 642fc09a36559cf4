// Kernels that work on one row at a time. Include only from a kernels_*.cc
// file.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_ROWS_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_ROWS_INL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/math_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

void RmsNorm(const float* x, const float* weight, float epsilon, int64_t n,
             float* out) {
  F32x16 squares = Zero();
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 v = Load(x + i);
    squares = Fma(v, v, squares);
  }
  const float mean = SumOfLanes(squares) / static_cast<float>(n);
  const F32x16 scale = Set(1.0f / __builtin_sqrtf(mean + epsilon));
  for (int64_t i = 0; i < n; i += 16) {
    Store(Mul(Mul(Load(x + i), scale), Load(weight + i)), out + i);
  }
}

// A block whose largest value is 0 or NaN gets scale 0 or NaN: NaN then reaches
// every product, where the exact sum refuses it.
void Quantize(const float* x, int64_t n, const QuantizedRow& out) {
  for (int64_t block = 0; block < n / 32; ++block) {
    const F32x16 a = Load(x + 32 * block);
    const F32x16 b = Load(x + 32 * block + 16);
    const float max = MaxOfLanes(Max(Abs(a), Abs(b)));
    const bool finite =
        MaskNotLess(Max(Abs(a), Abs(b)), Set(__builtin_huge_valf())) == 0 &&
        MaskNotLess(Abs(a), Set(__builtin_huge_valf())) == 0;
    const float scale = finite ? max / 127.0f : __builtin_nanf("");
    // Below 2^-100 the quotient could overflow; such a block counts as zeros.
    const F32x16 inverse = Set(finite && max > 0x1p-100f ? 127.0f / max : 0.0f);
    // The scale alone carries NaN on: as an integer it would overflow the sums.
    const I32x16 qa = ToInt(finite ? Mul(a, inverse) : Zero());
    const I32x16 qb = ToInt(finite ? Mul(b, inverse) : Zero());
    StoreInt8(qa, out.q + 32 * block);
    StoreInt8(qb, out.q + 32 * block + 16);
    const int32_t sums[2] = {SumOfInts(qa), SumOfInts(qb)};
    out.scale[block] = scale;
    out.scaled_sum[block] = scale * static_cast<float>(sums[0] + sums[1]);
    out.half_offset[2 * block] = -128 * sums[0];
    out.half_offset[2 * block + 1] = -128 * sums[1];
  }
}

void RopeAngles(double position, const double* inverse_frequencies,
                int64_t num_pairs, double magnitude, float* cosines,
                float* sines) {
  for (int64_t i = 0; i < num_pairs; ++i) {
    double sine, cosine;
    SinCos(position * inverse_frequencies[i], &sine, &cosine);
    cosines[i] = static_cast<float>(cosine * magnitude);
    sines[i] = static_cast<float>(sine * magnitude);
  }
}

void SiluMultiply(const float* gate, const float* up, int64_t n, float* out) {
  const F32x16 one = Set(1.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 g = Load(gate + i);
    const F32x16 sigmoid = Div(one, Add(one, Exp(Sub(Zero(), g))));
    Store(Mul(Mul(g, sigmoid), Load(up + i)), out + i);
  }
}

void AddFixedPointRow(const int64_t* acc, int64_t n, float* x) {
  for (int64_t i = 0; i < n; i += 16) {
    Store(Add(Load(x + i), FromFixedPoint(acc + i)), x + i);
  }
}

// The first n % 16 lanes of a last, shorter load; the others are `other`.
inline F32x16 LoadTail(const float* x, int64_t count, float other) {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = i < count ? x[i] : other;
  return Load(lanes);
}

// The maximum instruction forgets a NaN, or what came before it; so whatever is
// not below +inf is noted, and looked at again at the end.
float MaxOf(const float* x, int64_t n) {
  const int64_t whole = n / 16 * 16;
  const F32x16 infinity = Set(__builtin_huge_valf());
  F32x16 max = Set(kNegativeInfinity);
  uint32_t not_below_infinity = 0;
  for (int64_t i = 0; i < whole; i += 16) {
    const F32x16 v = Load(x + i);
    not_below_infinity |= MaskNotLess(v, infinity);
    max = Max(max, v);
  }
  if (whole < n) {
    const F32x16 v = LoadTail(x + whole, n - whole, kNegativeInfinity);
    not_below_infinity |= MaskNotLess(v, infinity);
    max = Max(max, v);
  }
  if (not_below_infinity == 0) return MaxOfLanes(max);
  for (int64_t i = 0; i < n; ++i) {
    if (__builtin_isnan(x[i])) return __builtin_nanf("");
  }
  return __builtin_huge_valf();
}

SoftmaxStats StatsOf(const float* x, int64_t n) {
  const int64_t whole = n / 16 * 16;
  SoftmaxStats stats;
  stats.max = MaxOf(x, n);
  if (!__builtin_isfinite(stats.max)) {
    stats.sum = __builtin_nanf("");
    return stats;
  }
  F32x16 sum = Zero();
  const F32x16 shift = Set(stats.max);
  for (int64_t i = 0; i < whole; i += 16) {
    sum = Add(sum, Exp(Sub(Load(x + i), shift)));
  }
  if (whole < n) {
    const F32x16 tail = LoadTail(x + whole, n - whole, kNegativeInfinity);
    sum = Add(sum, Exp(Sub(tail, shift)));
  }
  stats.sum = SumOfLanes(sum);
  return stats;
}

void ExpBelow(const float* x, int64_t n, float max, float* p) {
  const F32x16 shift = Set(max);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(Exp(Sub(Load(x + i), shift)), p + i);
  if (i == n) return;
  float lanes[16];
  Store(Exp(Sub(LoadTail(x + i, n - i, 0.0f), shift)), lanes);
  for (int lane = 0; i + lane < n; ++lane) p[i + lane] = lanes[lane];
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_ROWS_INL_H_
