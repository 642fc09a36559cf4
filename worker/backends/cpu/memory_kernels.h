// The kernels of neural memories (worker/neural_memory): plain pointers in,
// plain pointers out, fp32.
//
// Each instruction set has a table of its own; all tables give the same bits.
// Kernels allocate nothing and touch nothing but their arguments. Widths are
// multiples of 16.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_MEMORY_KERNELS_H_
#define HEADWISE_WORKER_BACKENDS_CPU_MEMORY_KERNELS_H_

#include <cstdint>

#include "model/memory_spec.h"
#include "worker/backends/cpu/isa.h"

namespace headwise {

// out[m][n] = sum over k of a[m][k] * b[k][n], k in [0, depth of row m), with
//   a[m][k] at a[m * a_row_stride + k * a_depth_stride], so that a may be a
//   transposed matrix; b[k] at b + k * b_stride; out[m] at out + m *
//   out_stride.
//
// Each element is one chain acc = fma(a, b, acc) for k ascending, which begins
// with 0 or, to add, with what out holds: neither the number of rows, nor the
// instruction set, nor a cut of k into calls that add can change a bit. b is
// not read beyond the depth of a row, so nothing there can touch the row.
struct MemoryProduct {
  const float* a = nullptr;
  int64_t a_row_stride = 0;
  int64_t a_depth_stride = 1;
  const float* b = nullptr;
  int64_t b_stride = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
  int64_t num_rows = 0;
  int64_t num_cols = 0;    // a multiple of 16
  int64_t depth = 0;       // of row 0
  int64_t depth_step = 0;  // row m has depth + m * depth_step; 0 or 1
  bool add = false;
};

inline constexpr float kMemoryNormEpsilon = 1e-5f;

// out = norm(mlp) * (1 + gamma) + residual, row by row.
//   kLayer  norm(x) = (x - mean x) / sqrt(variance of x + 1e-5)
//   kRms    norm(x) = x / sqrt(mean of x^2 + 1e-5)
// without a norm out = mlp + residual. Sums over a row: 16 lanes and a tree.
struct MemoryOutputArgs {
  MemoryNorm norm = MemoryNorm::kNone;
  int64_t num_rows = 0;
  int64_t head_dim = 0;
  const float* mlp = nullptr;    // [num_rows][head_dim]
  const float* gamma = nullptr;  // row m at gamma + m * gamma_stride, or null
  int64_t gamma_stride = 0;      // 0: one gamma for all rows
  const float* residual = nullptr;  // [num_rows][residual_stride], or null
  int64_t residual_stride = 0;
  float* out = nullptr;  // [num_rows][out_stride]
  int64_t out_stride = 0;
};

// The gradient of loss_scale / 2 * |M(key) - value|^2, row by row, with respect
// to the MLP's output and to gamma, M(key) as MemoryOutputArgs has it.
struct MemoryLossArgs {
  MemoryNorm norm = MemoryNorm::kNone;
  float loss_scale = 2.0f;
  int64_t num_rows = 0;
  int64_t head_dim = 0;
  const float* mlp = nullptr;       // [num_rows][head_dim]
  const float* gamma = nullptr;     // [head_dim], or null
  const float* residual = nullptr;  // [num_rows][head_dim], or null
  const float* values = nullptr;    // [num_rows][head_dim]
  float* mlp_grad = nullptr;        // [num_rows][head_dim]
  float* gamma_grad = nullptr;      // [num_rows][head_dim], or null
};

// new_weights = keep * weights + carry * momentum - weights_grad
// new_momentum = decay * momentum - momentum_grad
// where a new array may lie where a gradient of the same index is.
struct MemoryCombineArgs {
  int64_t n = 0;
  float keep = 1.0f;
  float carry = 0.0f;
  float decay = 0.0f;
  const float* weights = nullptr;
  const float* momentum = nullptr;
  const float* weights_grad = nullptr;
  const float* momentum_grad = nullptr;
  float* new_weights = nullptr;
  float* new_momentum = nullptr;
};
// Sums of squares of the new arrays, in 16 lanes and a tree.
struct MemorySquares {
  float weights = 0.0f;
  float momentum = 0.0f;
};

struct MemoryKernels {
  Isa isa = Isa::kAvx2;

  void (*product)(const MemoryProduct& args);
  // out[i] = activation(z[i]); slope[i] its derivative there, if not null.
  // out or slope may be z. Absolute error 2e-7 of max(1, |z|).
  void (*activate)(MemoryActivation activation, const float* z, int64_t n,
                   float* out, float* slope);
  void (*output)(const MemoryOutputArgs& args);
  void (*loss_gradient)(const MemoryLossArgs& args);
  MemorySquares (*combine)(const MemoryCombineArgs& args);
  // y[i] *= x[i]
  void (*multiply)(const float* x, int64_t n, float* y);
  // out[i] = factor * x[i]
  void (*scale)(float factor, const float* x, int64_t n, float* out);
  // x[i] = fma(x_factor, x[i], y_factor * y[i])
  void (*blend)(float x_factor, float y_factor, const float* y, int64_t n,
                float* x);
  // In 16 lanes and a tree.
  float (*sum_of_squares)(const float* x, int64_t n);
  // out[c][r] = x[r][c] for num_rows x num_cols of any size.
  void (*transpose)(const float* x, int64_t x_stride, int64_t num_rows,
                    int64_t num_cols, float* out, int64_t out_stride);
};

// The table of an instruction set that this machine has.
const MemoryKernels& MemoryKernelsFor(Isa isa);

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_MEMORY_KERNELS_H_
