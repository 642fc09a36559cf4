#include "worker/memory_parts/memory_bytes.h"

#include <algorithm>

namespace headwise {
namespace {

constexpr int64_t kFloatBytes = 4;
// Of SaveMemoryHead beside the numbers: magic, spec, counts, hash.
constexpr int64_t kMaxSavedFrameBytes = 4096;

// Keys, values and gates.
int64_t OpenRowBytes(const MemorySpec& spec) {
  return kFloatBytes * spec.chunk_len * (2 * spec.head_dim + 3);
}

// What OpenChunk keeps beside its rows (worker/neural_memory/open_chunk.h):
// for each row what enters and leaves every layer, the former twice, gradients
// of gamma, and two sums in double; the matrices once more, transposed.
int64_t OpenWorkBytes(const MemorySpec& spec) {
  const int64_t width = std::max(spec.head_dim, spec.hidden_dim);
  const int64_t row_floats = 3 * spec.num_layers * width + spec.head_dim + 4;
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
