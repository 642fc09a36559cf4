// What a thread needs beside the heads that it works on.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_SCRATCH_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_SCRATCH_H_

#include <cstdint>
#include <memory>

#include "model/memory_spec.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/neural_memory/aligned_floats.h"
#include "worker/neural_memory/open_chunk.h"

namespace headwise {

// Scratch of one thread, for heads of any spec; grows to what they need and
// keeps it. Nothing in it lasts from one call to the next but `spare`.
class MemoryScratch {
 public:
  // Rows that go through the layers together: their activations stay in the
  // second-level cache.
  static constexpr int64_t kBlockRows = 64;

  // Makes room for heads of the spec.
  void Prepare(const MemorySpec& spec);

  AlignedBuffer<float> mlp;     // [kBlockRows][head_dim]
  AlignedBuffer<float> slopes;  // [num_layers - 1][kBlockRows][hidden_dim]
  AlignedBuffer<float> scaled;  // [kBlockRows][widest layer]
  // Reads: two layers' rows, and their product with the momentum.
  AlignedBuffer<float> rows[2];       // [kBlockRows][widest layer]
  AlignedBuffer<float> momentum_row;  // [kBlockRows][widest layer]
  AlignedBuffer<float> scores;        // [kBlockRows][chunk_len, to whole 16s]
  AlignedBuffer<float> row_weights;   // [kBlockRows][chunk_len, to whole 16s]
  AlignedBuffer<float> gammas;        // [kBlockRows][head_dim]
  // A chunk's end: the weights and the momentum that may become the head's.
  AlignedFloats new_weights, new_momentum;

  // An empty chunk: the spare one, if it is of that spec.
  std::unique_ptr<OpenChunk> TakeChunk(const MemorySpec& spec);
  // A chunk that no head has open, or null. A head that opens a chunk takes it,
  // and gives its own back at the chunk's end.
  std::unique_ptr<OpenChunk> spare;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_SCRATCH_H_
