// What takes a head back over rows that may not count.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_UNDO_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_UNDO_H_

#include <cstdint>
#include <memory>

#include "worker/neural_memory/aligned_floats.h"
#include "worker/neural_memory/open_chunk.h"

namespace headwise {

// Begins with MemoryHead::Mark. Nothing is copied: rows that were open stay
// where they are, and the first chunk that ends leaves here the weights that it
// began with. Its room is used again by the next mark.
struct MemoryUndo {
  int64_t num_tokens = 0;
  ChunkProgress progress;  // of the chunk that was open
  bool has_ended_chunk = false;
  // If so, as they were:
  AlignedFloats weights;
  AlignedFloats momentum;
  std::unique_ptr<OpenChunk> open;  // null or empty if no row was open
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_UNDO_H_
