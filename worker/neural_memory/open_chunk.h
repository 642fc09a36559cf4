// The rows of a chunk that is not whole yet, and what was worked out for them.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_OPEN_CHUNK_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_OPEN_CHUNK_H_

#include <cstdint>

#include "model/memory_spec.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/neural_memory/row_weights.h"

namespace headwise {

struct MemoryRows;

// How far a chunk has come. Taken back to an earlier one, it is what it was.
struct ChunkProgress {
  int64_t num_rows = 0;
  int64_t num_computed = 0;
  int64_t num_readable = 0;
  PrefixSums prefix;  // may have passed fewer rows, never more
};

// The rows are state. All else follows from them and the weights that the chunk
// began with: it is kept so that nothing is worked out twice, and may be
// missing (num_computed and num_readable say how far it goes).
struct OpenChunk {
  explicit OpenChunk(const MemorySpec& spec);
  // As new.
  void Reset();
  // Where it is now; its prefix sums are left out, to be made anew.
  ChunkProgress progress() const;
  // Goes to a place where it was, with no row since overwritten, and leaves
  // the place that it comes from.
  void SwapProgress(ChunkProgress& place);
  // Copies rows [first, first + count) of `rows`, which must fit.
  void Append(const MemoryRows& rows, int64_t first, int64_t count);
  MemoryRows Rows() const;  // views of those that are here
  ChunkGates gates() const { return {theta.data(), eta.data(), alpha.data()}; }
  // Row `row` of what goes into layer `layer`, and of the loss's gradient with
  // respect to what comes out of it, before its activation.
  float* Inputs(int64_t layer, int64_t row);
  float* Gradients(int64_t layer, int64_t row);

  const MemorySpec spec;
  int64_t num_rows = 0;
  AlignedBuffer<float> keys;               // [chunk_len][head_dim]
  AlignedBuffer<float> values;             // [chunk_len][head_dim]
  AlignedBuffer<float> theta, eta, alpha;  // [chunk_len]

  // For the first num_computed rows.
  int64_t num_computed = 0;
  AlignedBuffer<float> hidden;     // [num_layers - 1][chunk_len][hidden_dim]
  AlignedBuffer<float> gradients;  // by layer: [chunk_len][layer_outputs]
  AlignedBuffer<float> gamma_gradients;  // [chunk_len][head_dim], with a norm
  // Matrices of the layers from the second on, [layer_outputs][layer_inputs],
  // each where MemorySpec has the matrix; there once a row was computed.
  AlignedBuffer<float> transposed_weights;

  // For reads inside the chunk, of the first num_readable rows: by layer,
  // [layer_inputs][row_capacity()]. Room is made by the first such read.
  int64_t num_readable = 0;
  AlignedBuffer<float> transposed_inputs;
  PrefixSums prefix;

  int64_t row_capacity() const { return (spec.chunk_len + 15) / 16 * 16; }
  float* TransposedInputs(int64_t layer);
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_OPEN_CHUNK_H_
