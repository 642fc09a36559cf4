// Closed-form gradients of a chunk's rows at the weights that it began with,
// and their weighted sums.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_CHUNK_GRADIENTS_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_CHUNK_GRADIENTS_H_

#include <cstdint>

#include "worker/backends/cpu/memory_kernels.h"
#include "worker/neural_memory/memory_scratch.h"
#include "worker/neural_memory/open_chunk.h"

namespace headwise {

// With H_0 = K, Z_l = H_(l-1) W_l, H_l = act(Z_l), for the rows of the chunk
// that were not computed yet: H_l, and D_l, the gradient of the loss with
// respect to Z_l:
//   D_L from the loss (MemoryLossArgs),  D_l = (D_(l+1) W_(l+1)^T) * act'(Z_l).
// A row's gradient of W_l is then the outer product of its H_(l-1) and D_l.
// Each row by itself, so that the bits know nothing of what came with it.
//   weights [spec.num_weights()]  as the chunk began with them
void ComputeRows(const float* weights, const MemoryKernels& kernels,
                 MemoryScratch& scratch, OpenChunk& chunk);

// The Euclidean norm of the loss's gradient, all weights together, of a row
// that was computed.
float SurpriseOf(const MemoryKernels& kernels, OpenChunk& chunk, int64_t row);

// sums[i] = sum over rows, ascending, of row_weights[row] * gradient[i].
//   row_weights [chunk.num_rows], sums [spec.num_weights()]
void SumGradients(const float* row_weights, const MemoryKernels& kernels,
                  MemoryScratch& scratch, OpenChunk& chunk, float* sums);

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_CHUNK_GRADIENTS_H_
