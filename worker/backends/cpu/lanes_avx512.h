// Sixteen fp32 lanes on AVX-512. Include only from a kernels_*.cc file.
//
// Every operation works lane by lane, so its bits are those of lanes_avx2.h.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_LANES_AVX512_H_
#define HEADWISE_WORKER_BACKENDS_CPU_LANES_AVX512_H_

#include <immintrin.h>

#include <cstdint>

namespace HEADWISE_ISA_NAMESPACE {
namespace {

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};

inline F32x16 Zero() { return {_mm512_setzero_ps()}; }
inline F32x16 Set(float x) { return {_mm512_set1_ps(x)}; }
inline F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(F32x16 a, float* p) { _mm512_storeu_ps(p, a.v); }
inline F32x16 Add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32x16 Sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32x16 Mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32x16 Div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
// a * b + c, rounded once.
inline F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
// The second operand if either is NaN, as the instruction does.
inline F32x16 Max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32x16 Min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32x16 Abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
// To the nearest integer, ties to even.
inline F32x16 Round(F32x16 a) {
  return {
      _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline I32x16 ToInt(F32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }
inline F32x16 ToFloat(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline I32x16 SetInt(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline I32x16 AddInt(I32x16 a, I32x16 b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
template <int kBits>
inline I32x16 ShiftLeft(I32x16 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline I32x16 ShiftRight(I32x16 a) {  // logical
  return {_mm512_srli_epi32(a.v, kBits)};
}
inline I32x16 AndInt(I32x16 a, I32x16 b) {
  return {_mm512_and_si512(a.v, b.v)};
}
inline I32x16 OrInt(I32x16 a, I32x16 b) { return {_mm512_or_si512(a.v, b.v)}; }
inline F32x16 AsFloat(I32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
inline I32x16 AsInt(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
// Lanes where a < b take x, the others y.
inline F32x16 IfLess(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return {
      _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
// Bit i set where !(a < b): NaN counts as not less.
inline uint32_t MaskNotLess(F32x16 a, F32x16 b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLT_UQ);
}
// Keeps the first `count` lanes, the others become `other`.
inline F32x16 KeepFirst(F32x16 a, int count, F32x16 other) {
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  return {_mm512_mask_blend_ps(mask, other.v, a.v)};
}

// Lanes 0..7 and 8..15.
inline __m256 Low(F32x16 a) { return _mm512_castps512_ps256(a.v); }
inline __m256 High(F32x16 a) { return _mm512_extractf32x8_ps(a.v, 1); }
inline int32_t SumOfInts(I32x16 a) { return _mm512_reduce_add_epi32(a.v); }

inline void Prefetch(const void* p) {
  // g++ 12 drops a loop of __builtin_prefetch as one without effect.
  asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(p)));
}
inline F32x16 LoadHalf(const uint16_t* p) {  // IEEE fp16
  return {
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void StoreHalf(F32x16 a, uint16_t* p) {
  _mm256_storeu_si256(
      reinterpret_cast<__m256i*>(p),
      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline F32x16 LoadBrain(const uint16_t* p) {  // bfloat16
  const __m512i wide = _mm512_cvtepu16_epi32(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline I32x16 LoadInt8(const int8_t* p) {
  return {_mm512_cvtepi8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
// Lanes must be in [-128, 127].
inline void StoreInt8(I32x16 a, int8_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}

// acc[i] += 2^32 * a[i] rounded to an integer, for 16 int64.
inline void AddFixedPoint(F32x16 a, int64_t* acc) {
  const __m512d magic = _mm512_set1_pd(0x1.8p52);
  const __m512d scale = _mm512_set1_pd(0x1p32);
  const __m512i magic_bits = _mm512_castpd_si512(magic);
  const __m256 halves[2] = {Low(a), High(a)};
  for (int h = 0; h < 2; ++h) {
    const __m512d fixed =
        _mm512_fmadd_pd(_mm512_cvtps_pd(halves[h]), scale, magic);
    const __m512i value =
        _mm512_sub_epi64(_mm512_castpd_si512(fixed), magic_bits);
    int64_t* out = acc + 8 * h;
    _mm512_storeu_si512(out, _mm512_add_epi64(_mm512_loadu_si512(out), value));
  }
}

// fp32 of acc[i] * 2^-32, each step rounded to nearest: int64 -> double ->
// fp32.
inline F32x16 FromFixedPoint(const int64_t* acc) {
  const __m512d scale = _mm512_set1_pd(0x1p-32);
  const __m256 low = _mm512_cvtpd_ps(
      _mm512_mul_pd(_mm512_cvtepi64_pd(_mm512_loadu_si512(acc)), scale));
  const __m256 high = _mm512_cvtpd_ps(
      _mm512_mul_pd(_mm512_cvtepi64_pd(_mm512_loadu_si512(acc + 8)), scale));
  return {_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1)};
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_LANES_AVX512_H_
