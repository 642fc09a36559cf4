#include "worker/memory_parts/memory_bytes.h"

namespace headwise {
namespace {

constexpr int64_t kFloatBytes = 4;
// Of SaveMemoryHead beside the numbers: magic, spec, counts, hash.
constexpr int64_t kMaxSavedFrameBytes = 4096;

// Keys, values and gates.
int64_t OpenRowBytes(const MemorySpec& spec) {
  return kFloatBytes * spec.chunk_len * (2 * spec.head_dim + 3);
}

// What OpenChunk keeps beside its rows (worker/neural_memory/open_chunk.h). For
// each row: what enters every layer but the first, the gradients of what leaves
// every layer, those of gamma, what enters every layer once more, and two sums
// in double. And the matrices but the first, transposed.
int64_t OpenWorkBytes(const MemorySpec& spec) {
  const int64_t hidden = (spec.num_layers - 1) * spec.hidden_dim;
  const int64_t row_floats = 3 * hidden + 3 * spec.head_dim + 4;
  const int64_t row_capacity = (spec.chunk_len + 15) / 16 * 16;
  return kFloatBytes * (row_capacity * row_floats + spec.num_weights());
}

}  // namespace

int64_t MemoryStateBytes(const MemorySpec& spec) {
  return 2 * kFloatBytes * spec.num_weights();
}

int64_t MemoryReservedBytes(const MemorySpec& spec) {
  return 2 *
         (MemoryStateBytes(spec) + OpenRowBytes(spec) + OpenWorkBytes(spec));
}

int64_t MaxSavedMemoryBytes(const MemorySpec& spec) {
  return kMaxSavedFrameBytes + MemoryStateBytes(spec) + OpenRowBytes(spec);
}

}  // namespace headwise
