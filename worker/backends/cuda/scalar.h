// One lane of the arithmetic of backends/cpu: exp, log, conversions, sums of 16
// lanes, with its bits. For a GPU's thread and for the CPU.
//
// Compile without contraction (-ffp-contract=off, nvcc -fmad=false) and with
// exact division and square root, which are the compilers' defaults: every
// fused operation is written out.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_SCALAR_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_SCALAR_H_

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#define HEADWISE_ANYWHERE __host__ __device__ __forceinline__
#else
#define HEADWISE_ANYWHERE inline
#endif
#include "model/files/half_floats.h"

namespace headwise::cuda {

HEADWISE_ANYWHERE float Fma(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

HEADWISE_ANYWHERE double Fma(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

template <class To, class From>
HEADWISE_ANYWHERE To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

HEADWISE_ANYWHERE float NegativeInfinity() {
  return BitCast<float>(0xff800000u);
}
HEADWISE_ANYWHERE float NotANumber() { return BitCast<float>(0x7fc00000u); }

// Whether |x| is below infinity: not for NaN.
HEADWISE_ANYWHERE bool IsFinite(float x) {
  return (BitCast<uint32_t>(x) & 0x7f800000u) != 0x7f800000u;
}

HEADWISE_ANYWHERE float Abs(float x) {
  return BitCast<float>(BitCast<uint32_t>(x) & 0x7fffffffu);
}

// To the nearest integer, ties to even.
HEADWISE_ANYWHERE float Round(float x) {
#if defined(__CUDA_ARCH__)
  return rintf(x);
#else
  return __builtin_rintf(x);
#endif
}

// Rounded once.
HEADWISE_ANYWHERE float SquareRoot(float x) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

// Of values that are no NaN.
HEADWISE_ANYWHERE float Max(float a, float b) { return a > b ? a : b; }

// Exp of math_inl.h: 0 below -87.3, at most e^88, NaN stays.
HEADWISE_ANYWHERE float Exp(float x) {
  if (x < -87.3f) return 0.0f;
  if (x != x) return x;
  const float clamped = x < 88.0f ? x : 88.0f;
  const float n = Round(clamped * 0x1.715476p+0f);
  float r = Fma(n, -0x1.628p-1f, clamped);
  r = Fma(n, -0x1.90bfbep-11f, r);
  float p = 0x1.6ae71ep-10f;
  p = Fma(p, r, 0x1.126794p-7f);
  p = Fma(p, r, 0x1.555822p-5f);
  p = Fma(p, r, 0x1.55541ap-3f);
  p = Fma(p, r, 0x1.fffffcp-2f);
  p = Fma(p, r, 1.0f);
  p = Fma(p, r, 1.0f);
  const int32_t exponent = static_cast<int32_t>(n) + 127;
  return p * BitCast<float>(static_cast<uint32_t>(exponent) << 23);
}

// Log of math_inl.h: of a positive normal number; NaN and +inf stay.
HEADWISE_ANYWHERE float Log(float x) {
  if (!(x < BitCast<float>(0x7f800000u))) return x;
  const uint32_t shifted = BitCast<uint32_t>(x) + (0x3f800000u - 0x3f3504f3u);
  const auto e = static_cast<float>(static_cast<int32_t>(shifted >> 23) - 127);
  const float m = BitCast<float>((shifted & 0x007fffffu) + 0x3f3504f3u);
  const float f = m - 1.0f;
  float q = 0x1.145742p-4f;
  q = Fma(q, f, -0x1.de3c00p-4f);
  q = Fma(q, f, 0x1.e6f08ep-4f);
  q = Fma(q, f, -0x1.fc220ep-4f);
  q = Fma(q, f, 0x1.233766p-3f);
  q = Fma(q, f, -0x1.555c4ep-3f);
  q = Fma(q, f, 0x1.99a4b6p-3f);
  q = Fma(q, f, -0x1.000006p-2f);
  q = Fma(q, f, 0x1.555548p-2f);
  const float square = f * f;
  float y = square * f * q;
  y = Fma(e, 0x1.90bfbep-11f, y);
  y = Fma(square, -0.5f, y);
  y = y + f;
  return Fma(e, 0x1.628p-1f, y);
}

// SinCos of math_inl.h: |x| < 1e9.
HEADWISE_ANYWHERE void SinCos(double x, double* sine, double* cosine) {
#if defined(__CUDA_ARCH__)
  const double k = rint(x * 0x1.45f306dc9c883p-1);
#else
  const double k = __builtin_rint(x * 0x1.45f306dc9c883p-1);
#endif
  double r = Fma(k, -0x1.921fb54442d18p+0, x);
  r = Fma(k, -0x1.1a62633145c07p-54, r);
  const double s = r * r;
  double p = -1.0 / 1307674368000.0;
  p = Fma(p, s, 1.0 / 6227020800.0);
  p = Fma(p, s, -1.0 / 39916800.0);
  p = Fma(p, s, 1.0 / 362880.0);
  p = Fma(p, s, -1.0 / 5040.0);
  p = Fma(p, s, 1.0 / 120.0);
  p = Fma(p, s, -1.0 / 6.0);
  const double sin_r = Fma(r * s, p, r);
  double q = 1.0 / 20922789888000.0;
  q = Fma(q, s, -1.0 / 87178291200.0);
  q = Fma(q, s, 1.0 / 479001600.0);
  q = Fma(q, s, -1.0 / 3628800.0);
  q = Fma(q, s, 1.0 / 40320.0);
  q = Fma(q, s, -1.0 / 720.0);
  q = Fma(q, s, 1.0 / 24.0);
  q = Fma(q, s, -0.5);
  const double cos_r = Fma(q, s, 1.0);
  const int64_t quadrant = static_cast<int64_t>(k) & 3;
  const double a = (quadrant & 1) != 0 ? cos_r : sin_r;
  const double b = (quadrant & 1) != 0 ? sin_r : cos_r;
  *sine = (quadrant & 2) != 0 ? -a : a;
  *cosine = (quadrant == 1 || quadrant == 2) ? -b : b;
}

// Lanes by the tree of math_inl.h: i with i + 8, + 4, + 2, + 1.
HEADWISE_ANYWHERE float SumOfLanes(const float lanes[16]) {
  float eight[8];
  for (int i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
  float four[4];
  for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// round(2^32 x), ties to even; |x| < 2^19.
HEADWISE_ANYWHERE int64_t ToFixedPoint(float x) {
  const double magic = 0x1.8p52;
  const double fixed = Fma(static_cast<double>(x), 0x1p32, magic);
  return BitCast<int64_t>(fixed) - BitCast<int64_t>(magic);
}

// 2^-32 acc, each step rounded to nearest: int64, double, fp32.
HEADWISE_ANYWHERE float FromFixedPoint(int64_t acc) {
  return static_cast<float>(static_cast<double>(acc) * 0x1p-32);
}

// *to += x, with whoever else adds.
HEADWISE_ANYWHERE void AddAtomically(int64_t* to, int64_t x) {
#if defined(__CUDA_ARCH__)
  static_assert(sizeof(unsigned long long) == sizeof(int64_t));
  atomicAdd(reinterpret_cast<unsigned long long*>(to),
            static_cast<unsigned long long>(x));
#else
  *to += x;
#endif
}

HEADWISE_ANYWHERE float HalfToFloat(uint16_t bits) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(bits));
#else
  return Fp16ToFloat(bits);
#endif
}

HEADWISE_ANYWHERE uint16_t FloatToHalf(float x) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(x));
#else
  return FloatToFp16(x);
#endif
}

HEADWISE_ANYWHERE float BrainToFloat(uint16_t bits) {
  return BitCast<float>(static_cast<uint32_t>(bits) << 16);
}

// Nearest bfloat16, ties to even; NaN stays NaN.
HEADWISE_ANYWHERE uint16_t FloatToBrain(float x) {
  const auto bits = BitCast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// sum + a . b of four int8 each, exact.
HEADWISE_ANYWHERE int32_t Dot4(uint32_t a, uint32_t b, int32_t sum) {
#if defined(__CUDA_ARCH__)
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
#else
  for (int i = 0; i < 32; i += 8) {
    sum += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  }
  return sum;
#endif
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_SCALAR_H_
