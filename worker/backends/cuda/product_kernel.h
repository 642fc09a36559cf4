// The matrix product, from weights packed as backends/cpu/packed_layout.h says.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_PRODUCT_KERNEL_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_PRODUCT_KERNEL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/packed_layout.h"
#include "worker/backends/cuda/kernel.h"

namespace headwise::cuda {

inline constexpr int kProductTokens = 4;  // of a block

// Where a block of the grid stands: a group of 16 rows, and up to
// kProductTokens tokens.
struct ProductTile {
  int64_t group;
  int64_t first_token;
  int num_tokens;
};

HEADWISE_ANYWHERE int64_t NumTokenTiles(const MatMulArgs& args) {
  return (args.num_tokens + kProductTokens - 1) / kProductTokens;
}
HEADWISE_ANYWHERE int64_t NumProductBlocks(const MatMulArgs& args) {
  return (args.last_group - args.first_group) * NumTokenTiles(args);
}
// Tiles of one group are neighbours, so that its weights are read once.
HEADWISE_ANYWHERE ProductTile TileOf(const MatMulArgs& args, int64_t block) {
  const int64_t tiles = NumTokenTiles(args);
  const int64_t first = block % tiles * kProductTokens;
  const int64_t rest = args.num_tokens - first;
  return {args.first_group + block / tiles, first,
          rest < kProductTokens ? static_cast<int>(rest) : kProductTokens};
}

HEADWISE_ANYWHERE void SinkResult(const MatMulArgs& args,
                                  const ProductTile& tile, int row, int token,
                                  float result) {
  const int64_t at = (tile.first_token + token) * args.out_stride +
                     16 * (tile.group - args.first_group) + row;
  switch (args.sink) {
    case ProductSink::kStore:
      args.out[at] = result;
      return;
    case ProductSink::kAddFloat:
      args.out[at] = args.out[at] + result;
      return;
    case ProductSink::kAddExact:
      if (Abs(result) < 0x1p19f) {
        AddAtomically(args.acc + at, ToFixedPoint(result));
      } else {  // NaN as well
        *args.not_exact = 1;
      }
      return;
  }
}

// Quantized weights. In a round the 256 threads take 16 blocks of 32 columns:
// the exact dots of a (row, block) for each token; then each (row, token) goes
// on with its chain over them.
template <PackedFormat kFormat>
struct QuantizedProduct {
  using Args = MatMulArgs;
  static constexpr int kNumThreads = 256;
  static constexpr int kNumPhases = 2;
  static constexpr int kRoundBlocks = 16;
  static constexpr int kDots = kFormat == PackedFormat::kInt8Short ? 2 : 1;
  struct Shared {
    int32_t dots[kProductTokens][kRoundBlocks][kDots][16];
    float acc[kProductTokens][16];
  };

  HEADWISE_ANYWHERE static int64_t NumRounds(const Args& args, int64_t) {
    return (args.cols / 32 + kRoundBlocks - 1) / kRoundBlocks;
  }

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared& shared) {
    if (at.thread < 16 * kProductTokens) {
      shared.acc[at.thread / 16][at.thread % 16] = 0.0f;
    }
  }

  template <int kPhase>
  HEADWISE_ANYWHERE static void Phase(const At<Args>& at, Shared& shared) {
    const ProductTile tile = TileOf(at.args, at.block);
    const uint8_t* group = at.args.weights + tile.group * at.args.group_bytes;
    const int row = at.thread % 16;
    if constexpr (kPhase == 0) {
      const int slot = at.thread / 16;
      const int64_t b = at.round * kRoundBlocks + slot;
      if (b < at.args.cols / 32) {
        Dot(at.args, tile, group, b, row, slot, shared);
      }
    } else if (at.thread < 16 * tile.num_tokens) {
      const int token = at.thread / 16;
      float acc = shared.acc[token][row];
      for (int slot = 0; slot < kRoundBlocks; ++slot) {
        const int64_t b = at.round * kRoundBlocks + slot;
        if (b >= at.args.cols / 32) break;
        acc = Add(at.args, tile.first_token + token, group, b, row,
                  shared.dots[token][slot], acc);
      }
      shared.acc[token][row] = acc;
    }
  }

  HEADWISE_ANYWHERE static void End(const At<Args>& at, const Shared& shared) {
    const ProductTile tile = TileOf(at.args, at.block);
    const int token = at.thread / 16;
    if (token >= tile.num_tokens) return;
    SinkResult(at.args, tile, at.thread % 16, token,
               shared.acc[token][at.thread % 16]);
  }

 private:
  HEADWISE_ANYWHERE static uint32_t Word(const void* p) {
    return *static_cast<const uint32_t*>(p);
  }

  // Elements 4 t .. 4 t + 3 of a row of block `b`, as four int8.
  HEADWISE_ANYWHERE static uint32_t Quad(const uint8_t* block, int row, int t) {
    if constexpr (IsInt4(kFormat)) {
      const uint32_t pair = Word(block + 64 * (t / 2) + 4 * row);
      return (t % 2 == 0 ? pair : pair >> 4) & 0x0f0f0f0fu;
    } else {
      return Word(block + 64 * t + 4 * row) ^ 0x80808080u;
    }
  }

  HEADWISE_ANYWHERE static void Dot(const Args& args, const ProductTile& tile,
                                    const uint8_t* group, int64_t b, int row,
                                    int slot, Shared& shared) {
    const uint8_t* block = group + b * BlockBytes(kFormat);
    uint32_t weights[8];
    for (int t = 0; t < 8; ++t) weights[t] = Quad(block, row, t);
    for (int token = 0; token < tile.num_tokens; ++token) {
      const int8_t* q =
          args.rows.q + (tile.first_token + token) * args.rows.n + 32 * b;
      for (int part = 0; part < kDots; ++part) {
        int32_t dot = 0;
        for (int t = part * 8 / kDots; t < (part + 1) * 8 / kDots; ++t) {
          dot = Dot4(weights[t], Word(q + 4 * t), dot);
        }
        shared.dots[token][slot][part][row] = dot;
      }
    }
  }

  HEADWISE_ANYWHERE static float LoadScale(const uint8_t* p, int64_t i) {
    if constexpr (HasHalfScales(kFormat)) {
      return HalfToFloat(reinterpret_cast<const uint16_t*>(p)[i]);
    } else {
      return reinterpret_cast<const float*>(p)[i];
    }
  }

  // The chain's next links, those of block `b`.
  HEADWISE_ANYWHERE static float Add(const Args& args, int64_t token,
                                     const uint8_t* group, int64_t b, int row,
                                     const int32_t (*dots)[16], float acc) {
    const int64_t num_blocks = args.cols / 32;
    const uint8_t* scales = group + ScalesOffset(kFormat, num_blocks);
    const int64_t at = token * (args.rows.n / 32) + b;
    const float scale = args.rows.scale[at];
    for (int part = 0; part < kDots; ++part) {
      const float scale_w = LoadScale(scales, (kDots * b + part) * 16 + row);
      acc = Fma(scale_w * scale, static_cast<float>(dots[part][row]), acc);
    }
    if constexpr (HasMinimums(kFormat)) {
      const uint8_t* minimums = group + MinimumsOffset(kFormat, num_blocks);
      acc =
          Fma(LoadScale(minimums, b * 16 + row), args.rows.scaled_sum[at], acc);
    }
    return acc;
  }
};

// Float weights: a (row, token) a thread.
template <PackedFormat kFormat>
struct FloatProduct {
  using Args = MatMulArgs;
  using Shared = NoShared;
  static constexpr int kNumThreads = 16 * kProductTokens;
  static constexpr int kNumPhases = 0;

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared&) {
    const ProductTile tile = TileOf(at.args, at.block);
    const int row = at.thread % 16;
    const int token = at.thread / 16;
    if (token >= tile.num_tokens) return;
    const uint8_t* group = at.args.weights + tile.group * at.args.group_bytes;
    const float* x = at.args.x + (tile.first_token + token) * at.args.x_stride;
    float acc = 0.0f;
    for (int64_t k = 0; k < at.args.cols; ++k) {
      acc = Fma(Load(group, 16 * k + row), x[k], acc);
    }
    SinkResult(at.args, tile, row, token, acc);
  }

  HEADWISE_ANYWHERE static void End(const At<Args>&, Shared&) {}

 private:
  HEADWISE_ANYWHERE static float Load(const uint8_t* group, int64_t i) {
    if constexpr (kFormat == PackedFormat::kFp32) {
      return reinterpret_cast<const float*>(group)[i];
    } else if constexpr (kFormat == PackedFormat::kFp16) {
      return HalfToFloat(reinterpret_cast<const uint16_t*>(group)[i]);
    } else {
      return BrainToFloat(reinterpret_cast<const uint16_t*>(group)[i]);
    }
  }
};

// Products of one format, all at once; those that add may add to the same
// sums, exactly.
struct MatMulManyArgs {
  const MatMulArgs* calls = nullptr;      // [num_calls]
  const int64_t* first_blocks = nullptr;  // [num_calls + 1], as CallOf's
  int64_t num_calls = 0;
};

template <class Product>
struct ManyProducts {
  using Args = MatMulManyArgs;
  static constexpr int kNumThreads = Product::kNumThreads;
  static constexpr int kNumPhases = Product::kNumPhases;
  struct Shared {
    int64_t call;
    typename Product::Shared product;
  };

  HEADWISE_ANYWHERE static int64_t NumRounds(const Args& args, int64_t block) {
    const int64_t c = CallOf(args.first_blocks, args.num_calls, block);
    return Product::NumRounds(args.calls[c], block - args.first_blocks[c]);
  }
  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared& shared) {
    const int64_t c = CallOf(at.args.first_blocks, at.args.num_calls, at.block);
    if (at.thread == 0) shared.call = c;
    Product::Begin(Within(at, c), shared.product);
  }
  template <int kPhase>
  HEADWISE_ANYWHERE static void Phase(const At<Args>& at, Shared& shared) {
    Product::template Phase<kPhase>(Within(at, shared.call), shared.product);
  }
  HEADWISE_ANYWHERE static void End(const At<Args>& at, Shared& shared) {
    Product::End(Within(at, shared.call), shared.product);
  }

 private:
  HEADWISE_ANYWHERE static At<MatMulArgs> Within(const At<Args>& at,
                                                 int64_t c) {
    return {at.args.calls[c], at.block - at.args.first_blocks[c], at.thread,
            at.round};
  }
};

// Calls run.operator()<Kernel>() with the kernel of a format.
template <class Run>
void WithProductOf(PackedFormat format, const Run& run) {
  switch (format) {
    case PackedFormat::kInt4Half:
      return run
          .template operator()<QuantizedProduct<PackedFormat::kInt4Half>>();
    case PackedFormat::kInt4Float:
      return run
          .template operator()<QuantizedProduct<PackedFormat::kInt4Float>>();
    case PackedFormat::kInt8Half:
      return run
          .template operator()<QuantizedProduct<PackedFormat::kInt8Half>>();
    case PackedFormat::kInt8Float:
      return run
          .template operator()<QuantizedProduct<PackedFormat::kInt8Float>>();
    case PackedFormat::kInt8Short:
      return run
          .template operator()<QuantizedProduct<PackedFormat::kInt8Short>>();
    case PackedFormat::kFp32:
      return run.template operator()<FloatProduct<PackedFormat::kFp32>>();
    case PackedFormat::kFp16:
      return run.template operator()<FloatProduct<PackedFormat::kFp16>>();
    case PackedFormat::kBf16:
      return run.template operator()<FloatProduct<PackedFormat::kBf16>>();
  }
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_PRODUCT_KERNEL_H_
