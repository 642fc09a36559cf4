// exp, log, sine and sums with one definition for every instruction set.
// Include only from a kernels_*.cc file, after a lanes_*.h.
//
// libm chooses its code by CPU and version, so its last bit may differ between
// two machines; these do not.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_MATH_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_MATH_INL_H_

#include <cstdint>

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr float kNegativeInfinity = -__builtin_huge_valf();

// e^x within 1.5 units in the last place. 0 below -87.3 (where the result would
// not be normal), at most e^88 above; exactly 1 at 0; NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln(2) / 2; e^r = 1 + r p(r), p of degree 5 by a
// weighted least-squares fit with relative error 2e-9.
inline F32x16 Exp(F32x16 x) {
  const F32x16 low = Set(-87.3f);
  F32x16 clamped = Max(low, x);  // this order keeps NaN
  clamped = Min(Set(88.0f), clamped);
  const F32x16 n = Round(Mul(clamped, Set(0x1.715476p+0f)));
  F32x16 r = Fma(n, Set(-0x1.628p-1f), clamped);  // upper bits of ln 2: exact
  r = Fma(n, Set(-0x1.90bfbep-11f), r);
  F32x16 p = Set(0x1.6ae71ep-10f);
  p = Fma(p, r, Set(0x1.126794p-7f));
  p = Fma(p, r, Set(0x1.555822p-5f));
  p = Fma(p, r, Set(0x1.55541ap-3f));
  p = Fma(p, r, Set(0x1.fffffcp-2f));
  p = Fma(p, r, Set(1.0f));
  p = Fma(p, r, Set(1.0f));
  const F32x16 power = AsFloat(ShiftLeft<23>(AddInt(ToInt(n), SetInt(127))));
  return IfLess(x, low, Zero(), Mul(p, power));
}

// Natural logarithm of a positive normal number, within 2 units in the last
// place; exactly 0 at 1. NaN and +inf stay what they are.
//
// x = 2^e m with m in [sqrt(1/2), sqrt(2)); f = m - 1;
// log m = f - f^2 / 2 + f^3 q(f), q of degree 8, error 1e-9 relative to log m.
inline F32x16 Log(F32x16 x) {
  const I32x16 bits = AsInt(x);
  // Exponent such that the mantissa falls into [sqrt(1/2), sqrt(2)).
  const I32x16 shifted = AddInt(bits, SetInt(0x3f800000 - 0x3f3504f3));
  const F32x16 e = ToFloat(AddInt(ShiftRight<23>(shifted), SetInt(-127)));
  const F32x16 m =
      AsFloat(AddInt(AndInt(shifted, SetInt(0x007fffff)), SetInt(0x3f3504f3)));
  const F32x16 f = Sub(m, Set(1.0f));
  F32x16 q = Set(0x1.145742p-4f);
  q = Fma(q, f, Set(-0x1.de3c00p-4f));
  q = Fma(q, f, Set(0x1.e6f08ep-4f));
  q = Fma(q, f, Set(-0x1.fc220ep-4f));
  q = Fma(q, f, Set(0x1.233766p-3f));
  q = Fma(q, f, Set(-0x1.555c4ep-3f));
  q = Fma(q, f, Set(0x1.99a4b6p-3f));
  q = Fma(q, f, Set(-0x1.000006p-2f));
  q = Fma(q, f, Set(0x1.555548p-2f));
  const F32x16 square = Mul(f, f);
  F32x16 y = Mul(Mul(square, f), q);
  y = Fma(e, Set(0x1.90bfbep-11f), y);
  y = Fma(square, Set(-0.5f), y);
  y = Add(y, f);
  y = Fma(e, Set(0x1.628p-1f), y);
  return IfLess(x, Set(__builtin_huge_valf()), y, x);
}

inline float ExpOne(float x) {
  float lanes[16];
  Store(Exp(Set(x)), lanes);
  return lanes[0];
}

inline float LogOne(float x) {
  float lanes[16];
  Store(Log(Set(x)), lanes);
  return lanes[0];
}

// Sum over lanes by a fixed tree: i with i + 8, + 4, + 2, + 1.
inline float SumOfLanes(F32x16 x) {
  const __m256 eight = _mm256_add_ps(Low(x), High(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight),
                                 _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// The largest lane; with a NaN among them any lane. Whoever takes a maximum of
// what may be NaN adds the lanes too, where NaN stays.
inline float MaxOfLanes(F32x16 x) {
  const __m256 eight = _mm256_max_ps(Low(x), High(x));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight),
                                 _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// Sine and cosine of an angle in double, |x| < 1e9, error below 1e-16 + 1e-16
// |x| / 1e7: far below the fp32 that they are rounded to.
inline void SinCos(double x, double* sine, double* cosine) {
  const double k = __builtin_rint(x * 0x1.45f306dc9c883p-1);  // 2 / pi
  double r = __builtin_fma(k, -0x1.921fb54442d18p+0, x);
  r = __builtin_fma(k, -0x1.1a62633145c07p-54, r);
  const double s = r * r;
  double p = -1.0 / 1307674368000.0;  // Taylor: 15! and so on down
  p = __builtin_fma(p, s, 1.0 / 6227020800.0);
  p = __builtin_fma(p, s, -1.0 / 39916800.0);
  p = __builtin_fma(p, s, 1.0 / 362880.0);
  p = __builtin_fma(p, s, -1.0 / 5040.0);
  p = __builtin_fma(p, s, 1.0 / 120.0);
  p = __builtin_fma(p, s, -1.0 / 6.0);
  const double sin_r = __builtin_fma(r * s, p, r);
  double q = 1.0 / 20922789888000.0;  // 16!
  q = __builtin_fma(q, s, -1.0 / 87178291200.0);
  q = __builtin_fma(q, s, 1.0 / 479001600.0);
  q = __builtin_fma(q, s, -1.0 / 3628800.0);
  q = __builtin_fma(q, s, 1.0 / 40320.0);
  q = __builtin_fma(q, s, -1.0 / 720.0);
  q = __builtin_fma(q, s, 1.0 / 24.0);
  q = __builtin_fma(q, s, -0.5);
  const double cos_r = __builtin_fma(q, s, 1.0);
  const int64_t quadrant = static_cast<int64_t>(k) & 3;
  const double a = (quadrant & 1) != 0 ? cos_r : sin_r;
  const double b = (quadrant & 1) != 0 ? sin_r : cos_r;
  *sine = (quadrant & 2) != 0 ? -a : a;
  *cosine = (quadrant == 1 || quadrant == 2) ? -b : b;
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_MATH_INL_H_
