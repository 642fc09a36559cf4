// Exact int8 dot products on AVX2. Include only from kernels_avx2.cc.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_DOT_AVX2_H_
#define HEADWISE_WORKER_BACKENDS_CPU_DOT_AVX2_H_

#include "worker/backends/cpu/lanes_avx2.h"
#include "worker/backends/cpu/packed_layout.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

// 32 elements of 16 rows, unpacked on the stack: they are more than the
// registers hold.
template <PackedFormat kFormat>
class WeightBlock {
 public:
  WeightBlock(const uint8_t* group, int64_t b) {
    const uint8_t* p = group + b * BlockBytes(kFormat);
    if constexpr (IsInt4(kFormat)) {
      const __m256i low = _mm256_set1_epi8(0x0f);
      for (int t = 0; t < 4; ++t) {
        for (int half = 0; half < 2; ++half) {
          const __m256i pair = LoadBytes(p + 64 * t + 32 * half);
          quads_[2 * t][half] = _mm256_and_si256(pair, low);
          quads_[2 * t + 1][half] =
              _mm256_and_si256(_mm256_srli_epi16(pair, 4), low);
        }
      }
    } else {
      const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
      for (int t = 0; t < 8; ++t) {
        for (int half = 0; half < 2; ++half) {
          quads_[t][half] =
              _mm256_xor_si256(LoadBytes(p + 64 * t + 32 * half), sign);
        }
      }
    }
  }

  template <int kFirst, int kLast>
  I32x16 Dot(const int8_t* activations, int32_t) const {
    return {DotHalf<kFirst, kLast>(activations, 0),
            DotHalf<kFirst, kLast>(activations, 1)};
  }

 private:
  static __m256i LoadBytes(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }

  template <int kFirst, int kLast>
  __m256i DotHalf(const int8_t* activations, int half) const {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    for (int t = kFirst; t < kLast; ++t) {
      int32_t quad;
      __builtin_memcpy(&quad, activations + 4 * t, 4);
      const __m256i a = _mm256_set1_epi32(quad);
      const __m256i w = quads_[t][half];
      if constexpr (IsInt4(kFormat)) {
        // 8 quads of 2 products of at most 15 * 127 stay below 2^15.
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, a));
      } else {
        // |w| <= 128 as unsigned, its sign moved to the activation: two
        // products are at most 2 * 128 * 127 < 2^15.
        const __m256i pairs =
            _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
      }
    }
    return IsInt4(kFormat) ? _mm256_madd_epi16(sum, ones) : sum;
  }

  __m256i quads_[8][2];
};

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_DOT_AVX2_H_
