// What queries read from a memory, at a chunk's start and inside a chunk.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_READS_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_READS_H_

#include <cstdint>

#include "worker/backends/cpu/memory_kernels.h"
#include "worker/neural_memory/memory_scratch.h"
#include "worker/neural_memory/open_chunk.h"

namespace headwise {

// Row r starts at r * row_stride; out as wide as queries, head_dim.
struct QueryRows {
  const float* queries = nullptr;
  float* out = nullptr;
  int64_t num_rows = 0;
  int64_t row_stride = 0;
};

// M(query) with these weights [spec.num_weights()].
void ReadWeights(const MemorySpec& spec, const float* weights,
                 const QueryRows& rows, const MemoryKernels& kernels,
                 MemoryScratch& scratch);

// Row r reads the weights after the chunk's row t = first_row + r * step (step
// is 0 or 1), by MemoryRule::kToken, without building them: with
// M_t = keep_t M_0 + carry_t S_0 - sum_(i <= t) c_(t,i) grad_i (PrefixSums),
// layer l of the read, from its input X, is
//   X W_t = keep_t (X W) + carry_t (X S) - sum_i c_(t,i) (X . H_(l-1),i) D_l,i
// because a row's gradient is the outer product of its H and D; gamma likewise.
// All rows up to the last one read must have been computed, and none after it
// may have been read yet.
//   weights, momentum [spec.num_weights()]  as the chunk began with them
void ReadInsideChunk(const float* weights, const float* momentum,
                     const QueryRows& rows, int64_t first_row, int64_t step,
                     const MemoryKernels& kernels, MemoryScratch& scratch,
                     OpenChunk& chunk);

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_READS_H_
