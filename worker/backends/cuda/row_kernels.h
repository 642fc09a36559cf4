// Kernels that work on rows of activations: norm, quantization, rotation
// angles, SwiGLU, and what comes out of an exact sum.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_ROW_KERNELS_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_ROW_KERNELS_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cuda/kernel.h"

namespace headwise::cuda {

// out[row][i] = x[row][i] / sqrt(mean(x[row]^2) + epsilon) * weight[i]; a block
// a row.
struct RmsNormArgs {
  const float* x = nullptr;       // [num_rows][n]
  const float* weight = nullptr;  // [n]
  float epsilon = 0.0f;
  int64_t n = 0;         // a multiple of 16
  float* out = nullptr;  // [num_rows][n]
};

struct RmsNorm {
  using Args = RmsNormArgs;
  struct Shared {
    float squares[16];
  };
  static constexpr int kNumThreads = 256;
  static constexpr int kNumPhases = 0;

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared& shared) {
    if (at.thread >= 16) return;
    const float* x = at.args.x + at.block * at.args.n;
    float squares = 0.0f;
    for (int64_t i = at.thread; i < at.args.n; i += 16) {
      squares = Fma(x[i], x[i], squares);
    }
    shared.squares[at.thread] = squares;
  }

  HEADWISE_ANYWHERE static void End(const At<Args>& at, const Shared& shared) {
    const float* x = at.args.x + at.block * at.args.n;
    float* out = at.args.out + at.block * at.args.n;
    const float mean =
        SumOfLanes(shared.squares) / static_cast<float>(at.args.n);
    const float scale = 1.0f / SquareRoot(mean + at.args.epsilon);
    for (int64_t i = at.thread; i < at.args.n; i += kNumThreads) {
      out[i] = x[i] * scale * at.args.weight[i];
    }
  }
};

// A kernel that does `Item(args, i)` for each i in [0, args.num_items).
template <class Self, class ArgsType>
struct ItemKernel {
  using Args = ArgsType;
  using Shared = NoShared;
  static constexpr int kNumThreads = 256;
  static constexpr int kNumPhases = 0;

  HEADWISE_ANYWHERE static int64_t NumBlocks(const Args& args) {
    return (args.num_items + kNumThreads - 1) / kNumThreads;
  }
  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared&) {
    const int64_t i = at.block * kNumThreads + at.thread;
    if (i < at.args.num_items) Self::Item(at.args, i);
  }
  HEADWISE_ANYWHERE static void End(const At<Args>&, Shared&) {}
};

// QuantizedRow of backends/cpu/kernels.h; an item is a block of 32 elements, of
// whichever row.
struct QuantizeArgs {
  const float* x = nullptr;  // [32 * num_items]
  QuantizedRow out;
  int64_t num_items = 0;
};

struct Quantize : ItemKernel<Quantize, QuantizeArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t block) {
    const float* x = args.x + 32 * block;
    float max = 0.0f;
    bool is_finite = true;
    for (int i = 0; i < 32; ++i) {
      is_finite = is_finite && IsFinite(x[i]);
      max = Max(max, Abs(x[i]));
    }
    const float scale = is_finite ? max / 127.0f : NotANumber();
    // Below 2^-100 the quotient could overflow; such a block counts as zeros.
    const float inverse = is_finite && max > 0x1p-100f ? 127.0f / max : 0.0f;
    int32_t sums[2] = {0, 0};
    for (int i = 0; i < 32; ++i) {
      const auto q =
          static_cast<int32_t>(is_finite ? Round(x[i] * inverse) : 0.0f);
      args.out.q[32 * block + i] = static_cast<int8_t>(q);
      sums[i / 16] += q;
    }
    args.out.scale[block] = scale;
    args.out.scaled_sum[block] = scale * static_cast<float>(sums[0] + sums[1]);
    args.out.half_offset[2 * block] = -128 * sums[0];
    args.out.half_offset[2 * block + 1] = -128 * sums[1];
  }
};

// cos and sin of positions[i / num_pairs] * inverse_frequencies[i % num_pairs],
// times magnitude; num_items = num_positions * num_pairs.
struct RopeAnglesArgs {
  const double* positions = nullptr;            // [num_positions]
  const double* inverse_frequencies = nullptr;  // [num_pairs]
  int64_t num_pairs = 0;
  double magnitude = 1.0;
  float* cosines = nullptr;  // [num_positions][num_pairs]
  float* sines = nullptr;
  int64_t num_items = 0;
};

struct RopeAngles : ItemKernel<RopeAngles, RopeAnglesArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    double sine, cosine;
    SinCos(args.positions[i / args.num_pairs] *
               args.inverse_frequencies[i % args.num_pairs],
           &sine, &cosine);
    args.cosines[i] = static_cast<float>(cosine * args.magnitude);
    args.sines[i] = static_cast<float>(sine * args.magnitude);
  }
};

// out[i] = silu(gate[i]) * up[i]
struct SiluMultiplyArgs {
  const float* gate = nullptr;
  const float* up = nullptr;
  float* out = nullptr;
  int64_t num_items = 0;
};

struct SiluMultiply : ItemKernel<SiluMultiply, SiluMultiplyArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    const float g = args.gate[i];
    const float sigmoid = 1.0f / (1.0f + Exp(0.0f - g));
    args.out[i] = g * sigmoid * args.up[i];
  }
};

// x[i] += 2^-32 * acc[i]
struct AddFixedPointArgs {
  const int64_t* acc = nullptr;
  float* x = nullptr;
  int64_t num_items = 0;
};

struct AddFixedPoint : ItemKernel<AddFixedPoint, AddFixedPointArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    args.x[i] = args.x[i] + FromFixedPoint(args.acc[i]);
  }
};

// p[i] = exp(x[i] - max)
struct ExpBelowArgs {
  const float* x = nullptr;
  float max = 0.0f;
  float* p = nullptr;
  int64_t num_items = 0;
};

struct ExpBelow : ItemKernel<ExpBelow, ExpBelowArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    args.p[i] = Exp(args.x[i] - args.max);
  }
};

// SoftmaxStats of each row, as backends/cpu/kernels.h has it; a block a row.
struct StatsArgs {
  const float* x = nullptr;  // [num_rows][n]
  int64_t n = 0;
  SoftmaxStats* out = nullptr;  // [num_rows]
};

struct Stats {
  using Args = StatsArgs;
  static constexpr int kNumThreads = 256;
  static constexpr int kNumPhases = 1;
  struct Shared {
    float max[kNumThreads];
    bool has_nan[kNumThreads];
    float sums[16];
  };

  HEADWISE_ANYWHERE static int64_t NumRounds(const Args&, int64_t) { return 1; }

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared& shared) {
    const float* x = at.args.x + at.block * at.args.n;
    float max = NegativeInfinity();
    bool has_nan = false;
    for (int64_t i = at.thread; i < at.args.n; i += kNumThreads) {
      has_nan = has_nan || x[i] != x[i];
      max = Max(x[i], max);
    }
    shared.max[at.thread] = max;
    shared.has_nan[at.thread] = has_nan;
  }

  template <int kPhase>
  HEADWISE_ANYWHERE static void Phase(const At<Args>& at, Shared& shared) {
    if (at.thread >= 16) return;
    const float* x = at.args.x + at.block * at.args.n;
    const float max = MaxOf(shared);
    float sum = 0.0f;
    for (int64_t i = at.thread; i < at.args.n; i += 16) {
      sum = sum + Exp(x[i] - max);
    }
    shared.sums[at.thread] = sum;
  }

  HEADWISE_ANYWHERE static void End(const At<Args>& at, const Shared& shared) {
    if (at.thread != 0) return;
    const float max = MaxOf(shared);
    at.args.out[at.block].max = max;
    at.args.out[at.block].sum =
        IsFinite(max) ? SumOfLanes(shared.sums) : NotANumber();
  }

 private:
  // NaN if a value is.
  HEADWISE_ANYWHERE static float MaxOf(const Shared& shared) {
    float max = NegativeInfinity();
    for (int thread = 0; thread < kNumThreads; ++thread) {
      if (shared.has_nan[thread]) return NotANumber();
      max = Max(shared.max[thread], max);
    }
    return max;
  }
};

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_ROW_KERNELS_H_
