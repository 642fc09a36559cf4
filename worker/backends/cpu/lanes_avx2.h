// Sixteen fp32 lanes on AVX2: two registers. Include only from kernels_avx2.cc.
//
// Every operation works lane by lane, so its bits are those of lanes_avx512.h,
// where the comments stand.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_LANES_AVX2_H_
#define HEADWISE_WORKER_BACKENDS_CPU_LANES_AVX2_H_

#include <immintrin.h>

#include <cstdint>

namespace HEADWISE_ISA_NAMESPACE {
namespace {

struct F32x16 {
  __m256 a, b;  // lanes 0..7, 8..15
};
struct I32x16 {
  __m256i a, b;
};

inline F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F32x16 Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F32x16 Load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void Store(F32x16 x, float* p) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline F32x16 Add(F32x16 x, F32x16 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
inline F32x16 Sub(F32x16 x, F32x16 y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
inline F32x16 Mul(F32x16 x, F32x16 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
inline F32x16 Div(F32x16 x, F32x16 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
inline F32x16 Fma(F32x16 x, F32x16 y, F32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline F32x16 Max(F32x16 x, F32x16 y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
inline F32x16 Min(F32x16 x, F32x16 y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
inline F32x16 Abs(F32x16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline F32x16 Round(F32x16 x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kMode), _mm256_round_ps(x.b, kMode)};
}
inline I32x16 ToInt(F32x16 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
inline F32x16 ToFloat(I32x16 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
inline I32x16 SetInt(int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
inline I32x16 AddInt(I32x16 x, I32x16 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
template <int kBits>
inline I32x16 ShiftLeft(I32x16 x) {
  return {_mm256_slli_epi32(x.a, kBits), _mm256_slli_epi32(x.b, kBits)};
}
template <int kBits>
inline I32x16 ShiftRight(I32x16 x) {
  return {_mm256_srli_epi32(x.a, kBits), _mm256_srli_epi32(x.b, kBits)};
}
inline I32x16 AndInt(I32x16 x, I32x16 y) {
  return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
inline I32x16 OrInt(I32x16 x, I32x16 y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
inline F32x16 AsFloat(I32x16 x) {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
inline I32x16 AsInt(F32x16 x) {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
inline F32x16 IfLess(F32x16 p, F32x16 q, F32x16 x, F32x16 y) {
  return {_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ))};
}
inline uint32_t MaskNotLess(F32x16 x, F32x16 y) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ));
  return static_cast<uint32_t>(low | high << 8);
}
inline F32x16 KeepFirst(F32x16 x, int count, F32x16 other) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i keep_a = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
  const __m256i keep_b = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), lane);
  return {_mm256_blendv_ps(other.a, x.a, _mm256_castsi256_ps(keep_a)),
          _mm256_blendv_ps(other.b, x.b, _mm256_castsi256_ps(keep_b))};
}

inline __m256 Low(F32x16 x) { return x.a; }
inline __m256 High(F32x16 x) { return x.b; }
inline int32_t SumOfInts(I32x16 x) {
  const __m256i eight = _mm256_add_epi32(x.a, x.b);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight),
                               _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtsi128_si32(four);
}

inline void Prefetch(const void* p) {
  // g++ 12 drops a loop of __builtin_prefetch as one without effect.
  asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(p)));
}
inline F32x16 LoadHalf(const uint16_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)),
          _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
inline void StoreHalf(F32x16 x, uint16_t* p) {
  auto* q = reinterpret_cast<__m128i*>(p);
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT;
  _mm_storeu_si128(q, _mm256_cvtps_ph(x.a, kMode));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(x.b, kMode));
}
inline F32x16 LoadBrain(const uint16_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  const __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128(q));
  const __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
}
inline I32x16 LoadInt8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(bytes),
          _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
}
inline __m128i PackInt16(__m256i x) {  // low halves of 8 lanes
  const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
  return _mm_packus_epi32(_mm256_castsi256_si128(low),
                          _mm256_extracti128_si256(low, 1));
}
inline void StoreInt8(I32x16 x, int8_t* p) {
  const __m128i packed = _mm_packs_epi16(PackInt16(x.a), PackInt16(x.b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}

inline void AddFixedPoint4(__m128 x, int64_t* acc) {
  const __m256d magic = _mm256_set1_pd(0x1.8p52);
  const __m256d fixed =
      _mm256_fmadd_pd(_mm256_cvtps_pd(x), _mm256_set1_pd(0x1p32), magic);
  const __m256i value =
      _mm256_sub_epi64(_mm256_castpd_si256(fixed), _mm256_castpd_si256(magic));
  auto* out = reinterpret_cast<__m256i*>(acc);
  _mm256_storeu_si256(out, _mm256_add_epi64(_mm256_loadu_si256(out), value));
}
inline void AddFixedPoint(F32x16 x, int64_t* acc) {
  AddFixedPoint4(_mm256_castps256_ps128(x.a), acc);
  AddFixedPoint4(_mm256_extractf128_ps(x.a, 1), acc + 4);
  AddFixedPoint4(_mm256_castps256_ps128(x.b), acc + 8);
  AddFixedPoint4(_mm256_extractf128_ps(x.b, 1), acc + 12);
}

// AVX2 has no int64 -> double. The upper and the lower 32 bits are each exact
// as a double, so that one rounding happens, in their sum, as in the
// instruction.
inline __m128 FromFixedPoint4(const int64_t* acc) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(acc));
  const __m256d two52 = _mm256_set1_pd(0x1p52);
  const __m256i low_bits = _mm256_blend_epi32(_mm256_castpd_si256(two52), x,
                                              0x55);  // 2^52 + low, exact
  const __m256d two84 = _mm256_set1_pd(0x1p84 + 0x1p63);
  const __m256i high_bits = _mm256_xor_si256(
      _mm256_srli_epi64(x, 32), _mm256_castpd_si256(two84));  // signed high
  const __m256d high = _mm256_sub_pd(_mm256_castsi256_pd(high_bits),
                                     _mm256_set1_pd(0x1p84 + 0x1p63));
  const __m256d low = _mm256_sub_pd(_mm256_castsi256_pd(low_bits), two52);
  return _mm256_cvtpd_ps(
      _mm256_mul_pd(_mm256_add_pd(high, low), _mm256_set1_pd(0x1p-32)));
}
inline F32x16 FromFixedPoint(const int64_t* acc) {
  return {_mm256_set_m128(FromFixedPoint4(acc + 4), FromFixedPoint4(acc)),
          _mm256_set_m128(FromFixedPoint4(acc + 12), FromFixedPoint4(acc + 8))};
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_LANES_AVX2_H_
