// The matrix product. Include only from a kernels_*.cc file, after a dot_*.h.
//
// A tile is 16 rows of weights times up to 8 tokens. Each (row, token) pair is
// one chain over k whatever the tile, so neither the number of tokens nor the
// instruction set can change a bit.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_MATMUL_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_MATMUL_INL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/math_inl.h"
#include "worker/backends/cpu/packed_layout.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr int kMaxTileTokens = 8;

template <PackedFormat kFormat>
inline F32x16 LoadScale(const uint8_t* group, int64_t num_blocks, int64_t i) {
  const uint8_t* p = group + ScalesOffset(kFormat, num_blocks);
  if constexpr (HasHalfScales(kFormat)) {
    return LoadHalf(reinterpret_cast<const uint16_t*>(p) + 16 * i);
  } else {
    return Load(reinterpret_cast<const float*>(p) + 16 * i);
  }
}

template <PackedFormat kFormat>
inline F32x16 LoadMinimum(const uint8_t* group, int64_t num_blocks, int64_t i) {
  const uint8_t* p = group + MinimumsOffset(kFormat, num_blocks);
  if constexpr (HasHalfScales(kFormat)) {
    return LoadHalf(reinterpret_cast<const uint16_t*>(p) + 16 * i);
  } else {
    return Load(reinterpret_cast<const float*>(p) + 16 * i);
  }
}

// One block of 32 (two of 16) times kTokens rows of activations.
template <PackedFormat kFormat, int kTokens>
inline void QuantizedBlock(const uint8_t* group, int64_t num_blocks, int64_t b,
                           const QuantizedRows& rows, F32x16* acc) {
  const WeightBlock<kFormat> w(group, b);
  const int64_t n = rows.n;
  if constexpr (kFormat == PackedFormat::kInt8Short) {
    const F32x16 first = LoadScale<kFormat>(group, num_blocks, 2 * b);
    const F32x16 second = LoadScale<kFormat>(group, num_blocks, 2 * b + 1);
    for (int m = 0; m < kTokens; ++m) {
      const int8_t* q = rows.q + m * n + 32 * b;
      const int32_t* offset = rows.half_offset + m * (n / 16) + 2 * b;
      const F32x16 scale = Set(rows.scale[m * (n / 32) + b]);
      const F32x16 d0 = ToFloat(w.template Dot<0, 4>(q, offset[0]));
      const F32x16 d1 = ToFloat(w.template Dot<4, 8>(q, offset[1]));
      acc[m] = Fma(Mul(first, scale), d0, acc[m]);
      acc[m] = Fma(Mul(second, scale), d1, acc[m]);
    }
  } else {
    const F32x16 scale_w = LoadScale<kFormat>(group, num_blocks, b);
    F32x16 min_w = Zero();
    if constexpr (HasMinimums(kFormat)) {
      min_w = LoadMinimum<kFormat>(group, num_blocks, b);
    }
    for (int m = 0; m < kTokens; ++m) {
      const int8_t* q = rows.q + m * n + 32 * b;
      int32_t offset = 0;
      if constexpr (!IsInt4(kFormat)) {
        const int32_t* half = rows.half_offset + m * (n / 16) + 2 * b;
        offset = half[0] + half[1];
      }
      const F32x16 dot = ToFloat(w.template Dot<0, 8>(q, offset));
      const F32x16 scale = Set(rows.scale[m * (n / 32) + b]);
      acc[m] = Fma(Mul(scale_w, scale), dot, acc[m]);
      if constexpr (HasMinimums(kFormat)) {
        acc[m] = Fma(min_w, Set(rows.scaled_sum[m * (n / 32) + b]), acc[m]);
      }
    }
  }
}

template <PackedFormat kFormat>
inline F32x16 LoadFloatWeights(const uint8_t* group, int64_t k) {
  if constexpr (kFormat == PackedFormat::kFp32) {
    return Load(reinterpret_cast<const float*>(group) + 16 * k);
  } else if constexpr (kFormat == PackedFormat::kFp16) {
    return LoadHalf(reinterpret_cast<const uint16_t*>(group) + 16 * k);
  } else {
    return LoadBrain(reinterpret_cast<const uint16_t*>(group) + 16 * k);
  }
}

// Results of one tile to where they belong.
template <int kTokens>
inline void Sink(const MatMulArgs& args, int64_t group, int64_t first_token,
                 const F32x16* acc) {
  const int64_t at =
      first_token * args.out_stride + 16 * (group - args.first_group);
  if (args.sink == ProductSink::kAddExact) {
    uint32_t bad = 0;
    for (int m = 0; m < kTokens; ++m) {
      bad |= MaskNotLess(Abs(acc[m]), Set(0x1p19f));
      AddFixedPoint(acc[m], args.acc + at + m * args.out_stride);
    }
    if (bad != 0) *args.not_exact = 1;
    return;
  }
  for (int m = 0; m < kTokens; ++m) {
    float* out = args.out + at + m * args.out_stride;
    Store(args.sink == ProductSink::kStore ? acc[m] : Add(Load(out), acc[m]),
          out);
  }
}

template <PackedFormat kFormat, int kTokens>
void Tile(const MatMulArgs& args, int64_t group, int64_t first_token) {
  const uint8_t* weights = args.weights + group * args.group_bytes;
  F32x16 acc[kTokens];
  for (int m = 0; m < kTokens; ++m) acc[m] = Zero();
  if constexpr (IsQuantized(kFormat)) {
    const int64_t n = args.rows.n;
    const QuantizedRows rows = {
        args.rows.q + first_token * n, args.rows.scale + first_token * (n / 32),
        args.rows.scaled_sum + first_token * (n / 32),
        args.rows.half_offset + first_token * (n / 16), n};
    const int64_t num_blocks = args.cols / 32;
    for (int64_t b = 0; b < num_blocks; ++b) {
      QuantizedBlock<kFormat, kTokens>(weights, num_blocks, b, rows, acc);
    }
  } else {
    const float* x = args.x + first_token * args.x_stride;
    for (int64_t k = 0; k < args.cols; ++k) {
      const F32x16 w = LoadFloatWeights<kFormat>(weights, k);
      for (int m = 0; m < kTokens; ++m) {
        acc[m] = Fma(w, Set(x[m * args.x_stride + k]), acc[m]);
      }
    }
  }
  Sink<kTokens>(args, group, first_token, acc);
}

template <PackedFormat kFormat>
void MatMulOf(const MatMulArgs& args) {
  for (int64_t g = args.first_group; g < args.last_group; ++g) {
    int64_t m = 0;
    for (; m + kMaxTileTokens <= args.num_tokens; m += kMaxTileTokens) {
      Tile<kFormat, kMaxTileTokens>(args, g, m);
    }
    for (; m + 4 <= args.num_tokens; m += 4) Tile<kFormat, 4>(args, g, m);
    for (; m + 2 <= args.num_tokens; m += 2) Tile<kFormat, 2>(args, g, m);
    for (; m < args.num_tokens; ++m) Tile<kFormat, 1>(args, g, m);
  }
}

void MatMul(const MatMulArgs& args) {
  switch (args.format) {
    case PackedFormat::kInt4Half:
      return MatMulOf<PackedFormat::kInt4Half>(args);
    case PackedFormat::kInt4Float:
      return MatMulOf<PackedFormat::kInt4Float>(args);
    case PackedFormat::kInt8Half:
      return MatMulOf<PackedFormat::kInt8Half>(args);
    case PackedFormat::kInt8Float:
      return MatMulOf<PackedFormat::kInt8Float>(args);
    case PackedFormat::kInt8Short:
      return MatMulOf<PackedFormat::kInt8Short>(args);
    case PackedFormat::kFp32:
      return MatMulOf<PackedFormat::kFp32>(args);
    case PackedFormat::kFp16:
      return MatMulOf<PackedFormat::kFp16>(args);
    case PackedFormat::kBf16:
      return MatMulOf<PackedFormat::kBf16>(args);
  }
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_MATMUL_INL_H_
