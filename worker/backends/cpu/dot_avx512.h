// Exact int8 dot products on AVX-512 VNNI. Include only from kernels_avx512.cc.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_DOT_AVX512_H_
#define HEADWISE_WORKER_BACKENDS_CPU_DOT_AVX512_H_

#include "worker/backends/cpu/lanes_avx512.h"
#include "worker/backends/cpu/packed_layout.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

// 32 elements of 16 rows in registers.
template <PackedFormat kFormat>
class WeightBlock {
 public:
  WeightBlock(const uint8_t* group, int64_t b) {
    const uint8_t* p = group + b * BlockBytes(kFormat);
    if constexpr (IsInt4(kFormat)) {
      const __m512i low = _mm512_set1_epi8(0x0f);
      for (int t = 0; t < 4; ++t) {
        const __m512i pair = _mm512_loadu_si512(p + 64 * t);
        quads_[2 * t] = _mm512_and_si512(pair, low);
        quads_[2 * t + 1] = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
      }
    } else {
      for (int t = 0; t < 8; ++t) quads_[t] = _mm512_loadu_si512(p + 64 * t);
    }
  }

  // The dot of quads [kFirst, kLast) with int8 activations. An int8 quad holds
  // q + 128; `offset`, -128 times the sum of the activations, takes that back.
  template <int kFirst, int kLast>
  I32x16 Dot(const int8_t* activations, int32_t offset) const {
    __m512i dot =
        IsInt4(kFormat) ? _mm512_setzero_si512() : _mm512_set1_epi32(offset);
    for (int t = kFirst; t < kLast; ++t) {
      int32_t quad;
      __builtin_memcpy(&quad, activations + 4 * t, 4);
      dot = _mm512_dpbusd_epi32(dot, quads_[t], _mm512_set1_epi32(quad));
    }
    return {dot};
  }

 private:
  __m512i quads_[8];
};

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_DOT_AVX512_H_
