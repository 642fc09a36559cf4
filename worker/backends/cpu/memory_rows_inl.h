// What a neural memory does row by row and element by element. Include only
// from a memory_*.cc file, after a lanes_*.h.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_MEMORY_ROWS_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_MEMORY_ROWS_INL_H_

#include "worker/backends/cpu/math_inl.h"
#include "worker/backends/cpu/memory_kernels.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

struct ValueAndSlope {
  F32x16 value, slope;
};

// With s the sigmoid and e = exp(-z), 1 - s = e s: the slope s (1 + z (1 - s))
// loses no digits where s is near 1.
inline ValueAndSlope Silu(F32x16 z) {
  const F32x16 one = Set(1.0f);
  const F32x16 e = Exp(Sub(Zero(), z));
  const F32x16 sigmoid = Div(one, Add(one, e));
  const F32x16 value = Mul(z, sigmoid);
  return {value, Fma(value, Mul(e, sigmoid), sigmoid)};
}

// With x = |z| / sqrt(2) and t = 1 / (1 + 0.3 x):
//   erfc(x) = exp(-x^2) t p(u),  u = t scaled from [t(9.5), 1] to [-1, 1],
// p of degree 8 through erfc(x) exp(x^2) / t at Chebyshev's points, relative
// error 2.4e-8 for x up to 9.5; beyond, exp(-x^2) is 0 in fp32. Half of erfc is
// the normal distribution of -|z|, and the same exp its density.
inline ValueAndSlope Gelu(F32x16 z) {
  const F32x16 size = Abs(z);
  const F32x16 t = Div(Set(1.0f), Fma(size, Set(0x1.b27248p-3f), Set(1.0f)));
  const F32x16 u = Fma(t, Set(0x1.59d316p+1f), Set(-0x1.b3a62cp+0f));
  F32x16 p = Set(-0x1.81935cp-15f);
  p = Fma(p, u, Set(-0x1.4d3ee4p-13f));
  p = Fma(p, u, Set(0x1.0035f2p-11f));
  p = Fma(p, u, Set(0x1.80802cp-8f));
  p = Fma(p, u, Set(0x1.aef132p-6f));
  p = Fma(p, u, Set(0x1.40e4ccp-4f));
  p = Fma(p, u, Set(0x1.651e42p-3f));
  p = Fma(p, u, Set(0x1.3580d0p-2f));
  p = Fma(p, u, Set(0x1.a67b62p-2f));
  const F32x16 bell = Exp(Mul(Mul(z, z), Set(-0.5f)));
  const F32x16 tail = Mul(Mul(Set(0.5f), bell), Mul(t, p));
  const F32x16 below =
      IfLess(z, Zero(), tail, Sub(Set(1.0f), tail));  // normal distribution
  const F32x16 density = Mul(bell, Set(0x1.988454p-2f));
  return {Mul(z, below), Fma(z, density, below)};
}

template <ValueAndSlope (*kFunction)(F32x16)>
void ActivateWith(const float* z, int64_t n, float* out, float* slope) {
  if (slope == nullptr) {
    for (int64_t i = 0; i < n; i += 16) {
      Store(kFunction(Load(z + i)).value, out + i);
    }
    return;
  }
  for (int64_t i = 0; i < n; i += 16) {
    const ValueAndSlope y = kFunction(Load(z + i));
    Store(y.value, out + i);
    Store(y.slope, slope + i);
  }
}

void Activate(MemoryActivation activation, const float* z, int64_t n,
              float* out, float* slope) {
  if (activation == MemoryActivation::kSilu) {
    ActivateWith<Silu>(z, n, out, slope);
  } else {
    ActivateWith<Gelu>(z, n, out, slope);
  }
}

inline float SumOf(const float* x, int64_t n) {
  F32x16 sum = Zero();
  for (int64_t i = 0; i < n; i += 16) sum = Add(sum, Load(x + i));
  return SumOfLanes(sum);
}

// The norm of a row is (x - shift) * scale.
struct RowNorm {
  float shift = 0.0f;
  float scale = 1.0f;
};

inline RowNorm NormOf(MemoryNorm norm, const float* x, int64_t n) {
  RowNorm row;
  if (norm == MemoryNorm::kNone) return row;
  if (norm == MemoryNorm::kLayer) {
    row.shift = SumOf(x, n) / static_cast<float>(n);
  }
  const F32x16 shift = Set(row.shift);
  F32x16 squares = Zero();
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 v = Sub(Load(x + i), shift);
    squares = Fma(v, v, squares);
  }
  const float mean = SumOfLanes(squares) / static_cast<float>(n);
  row.scale = 1.0f / __builtin_sqrtf(mean + kMemoryNormEpsilon);
  return row;
}

inline F32x16 Normalized(const RowNorm& row, const float* x) {
  return Mul(Sub(Load(x), Set(row.shift)), Set(row.scale));
}

void Output(const MemoryOutputArgs& args) {
  const bool has_norm = args.norm != MemoryNorm::kNone;
  for (int64_t m = 0; m < args.num_rows; ++m) {
    const float* mlp = args.mlp + m * args.head_dim;
    const RowNorm row = NormOf(args.norm, mlp, args.head_dim);
    float* out = args.out + m * args.out_stride;
    for (int64_t i = 0; i < args.head_dim; i += 16) {
      F32x16 y = Load(mlp + i);
      if (has_norm) {
        const F32x16 x = Normalized(row, mlp + i);
        y = Fma(x, Load(args.gamma + m * args.gamma_stride + i), x);
      }
      if (args.residual != nullptr) {
        y = Add(y, Load(args.residual + m * args.residual_stride + i));
      }
      Store(y, out + i);
    }
  }
}

// With x the normed row and g = error * (1 + gamma), the MLP's output gets
//   kLayer  scale * (g - mean g - x * mean(g x))
//   kRms    scale * (g - x * mean(g x))
inline void LossGradientOfRow(const MemoryLossArgs& args, int64_t m) {
  const int64_t n = args.head_dim;
  const float* mlp = args.mlp + m * n;
  float* grad = args.mlp_grad + m * n;
  const bool has_norm = args.norm != MemoryNorm::kNone;
  const RowNorm row = NormOf(args.norm, mlp, n);
  const F32x16 scale = Set(args.loss_scale);
  F32x16 sums = Zero(), products = Zero();
  for (int64_t i = 0; i < n; i += 16) {
    F32x16 y = Load(mlp + i);
    F32x16 x = Zero(), gamma = Zero();
    if (has_norm) {
      x = Normalized(row, mlp + i);
      gamma = Load(args.gamma + i);
      y = Fma(x, gamma, x);
    }
    if (args.residual != nullptr) y = Add(y, Load(args.residual + m * n + i));
    F32x16 error = Mul(scale, Sub(y, Load(args.values + m * n + i)));
    if (has_norm) {
      Store(Mul(error, x), args.gamma_grad + m * n + i);
      error = Fma(error, gamma, error);
      sums = Add(sums, error);
      products = Fma(error, x, products);
    }
    Store(error, grad + i);
  }
  if (!has_norm) return;
  const auto width = static_cast<float>(n);
  const F32x16 mean =
      Set(args.norm == MemoryNorm::kLayer ? SumOfLanes(sums) / width : 0.0f);
  const F32x16 product = Set(SumOfLanes(products) / width);
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 x = Normalized(row, mlp + i);
    const F32x16 g = Sub(Load(grad + i), Fma(x, product, mean));
    Store(Mul(Set(row.scale), g), grad + i);
  }
}

void LossGradient(const MemoryLossArgs& args) {
  for (int64_t m = 0; m < args.num_rows; ++m) LossGradientOfRow(args, m);
}

MemorySquares Combine(const MemoryCombineArgs& args) {
  const F32x16 keep = Set(args.keep), carry = Set(args.carry),
               decay = Set(args.decay);
  F32x16 weights_squares = Zero(), momentum_squares = Zero();
  for (int64_t i = 0; i < args.n; i += 16) {
    const F32x16 momentum = Load(args.momentum + i);
    const F32x16 weights_grad = Load(args.weights_grad + i);
    const F32x16 momentum_grad = Load(args.momentum_grad + i);
    const F32x16 carried = Fma(carry, momentum, Sub(Zero(), weights_grad));
    const F32x16 weights = Fma(keep, Load(args.weights + i), carried);
    const F32x16 new_momentum =
        Fma(decay, momentum, Sub(Zero(), momentum_grad));
    weights_squares = Fma(weights, weights, weights_squares);
    momentum_squares = Fma(new_momentum, new_momentum, momentum_squares);
    Store(weights, args.new_weights + i);
    Store(new_momentum, args.new_momentum + i);
  }
  MemorySquares squares;
  squares.weights = SumOfLanes(weights_squares);
  squares.momentum = SumOfLanes(momentum_squares);
  return squares;
}

void Multiply(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16)
    Store(Mul(Load(x + i), Load(y + i)), y + i);
}

void Scale(float factor, const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    Store(Mul(Set(factor), Load(x + i)), out + i);
  }
}

void Blend(float x_factor, float y_factor, const float* y, int64_t n,
           float* x) {
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 added = Mul(Set(y_factor), Load(y + i));
    Store(Fma(Set(x_factor), Load(x + i), added), x + i);
  }
}

float SumOfSquares(const float* x, int64_t n) {
  F32x16 squares = Zero();
  for (int64_t i = 0; i < n; i += 16) {
    squares = Fma(Load(x + i), Load(x + i), squares);
  }
  return SumOfLanes(squares);
}

// Eight rows of eight to eight columns of eight.
inline void TransposeTile(const float* x, int64_t x_stride, float* out,
                          int64_t out_stride) {
  __m256 rows[8], pairs[8], quads[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) rows[r] = _mm256_loadu_ps(x + r * x_stride);
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    pairs[r] = _mm256_unpacklo_ps(rows[r], rows[r + 1]);
    pairs[r + 1] = _mm256_unpackhi_ps(rows[r], rows[r + 1]);
  }
#pragma GCC unroll 2
  for (int half = 0; half < 8; half += 4) {
    const __m256* p = pairs + half;
    __m256* q = quads + half;
    q[0] = _mm256_shuffle_ps(p[0], p[2], 0x44);
    q[1] = _mm256_shuffle_ps(p[0], p[2], 0xee);
    q[2] = _mm256_shuffle_ps(p[1], p[3], 0x44);
    q[3] = _mm256_shuffle_ps(p[1], p[3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    _mm256_storeu_ps(out + c * out_stride,
                     _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x20));
    _mm256_storeu_ps(out + (c + 4) * out_stride,
                     _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x31));
  }
}

void Transpose(const float* x, int64_t x_stride, int64_t num_rows,
               int64_t num_cols, float* out, int64_t out_stride) {
  const int64_t tile_rows = num_rows / 8 * 8;
  const int64_t tile_cols = num_cols / 8 * 8;
  for (int64_t r = 0; r < tile_rows; r += 8) {
    for (int64_t c = 0; c < tile_cols; c += 8) {
      TransposeTile(x + r * x_stride + c, x_stride, out + c * out_stride + r,
                    out_stride);
    }
  }
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int64_t c = r < tile_rows ? tile_cols : 0; c < num_cols; ++c) {
      out[c * out_stride + r] = x[r * x_stride + c];
    }
  }
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_MEMORY_ROWS_INL_H_
