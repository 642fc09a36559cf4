// How a group of 16 rows of weights lies in memory.
//
// With num_blocks = cols / 32, a quantized group is
//   quants    [num_blocks][block]
//   scales    [num_blocks][16]  fp16 or fp32; kInt8Short: [2 * num_blocks][16]
//   minimums  [num_blocks][16]  the same type, where the format has them
// An int8 block is 8 quads of 64 bytes: byte 4 r + j of quad t is row r,
// element 4 t + j, as q + 128. An int4 block is 4 pairs of 64 bytes: byte 4 r +
// j of pair t holds element 8 t + j of row r below and element 8 t + 4 + j
// above. A float group is [cols][16].

#ifndef HEADWISE_WORKER_BACKENDS_CPU_PACKED_LAYOUT_H_
#define HEADWISE_WORKER_BACKENDS_CPU_PACKED_LAYOUT_H_

#include <cstdint>

#include "worker/backends/cpu/kernels.h"

namespace headwise {

constexpr bool IsInt4(PackedFormat f) {
  return f == PackedFormat::kInt4Half || f == PackedFormat::kInt4Float;
}
constexpr bool HasHalfScales(PackedFormat f) {
  return f == PackedFormat::kInt4Half || f == PackedFormat::kInt8Half;
}
constexpr bool HasMinimums(PackedFormat f) {
  return IsInt4(f) || f == PackedFormat::kInt8Float;
}
constexpr int64_t BlockBytes(PackedFormat f) { return IsInt4(f) ? 256 : 512; }
constexpr int64_t ScaleBytes(PackedFormat f) {
  return HasHalfScales(f) ? 32 : f == PackedFormat::kInt8Short ? 128 : 64;
}
constexpr int64_t ScalesOffset(PackedFormat f, int64_t num_blocks) {
  return num_blocks * BlockBytes(f);
}
constexpr int64_t MinimumsOffset(PackedFormat f, int64_t num_blocks) {
  return num_blocks * (BlockBytes(f) + ScaleBytes(f));
}
// Bytes of a group, rounded up so that each begins on a cache line.
constexpr int64_t GroupBytes(PackedFormat f, int64_t cols) {
  if (!IsQuantized(f)) {
    return (cols * 16 * (f == PackedFormat::kFp32 ? 4 : 2) + 63) / 64 * 64;
  }
  const int64_t bytes =
      cols / 32 *
      (BlockBytes(f) + ScaleBytes(f) + (HasMinimums(f) ? ScaleBytes(f) : 0));
  return (bytes + 63) / 64 * 64;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_PACKED_LAYOUT_H_
