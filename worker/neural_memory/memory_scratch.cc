#include "worker/neural_memory/memory_scratch.h"

#include <algorithm>
#include <utility>

namespace headwise {

void MemoryScratch::Prepare(const MemorySpec& spec) {
  const int64_t widest = std::max(spec.head_dim, spec.hidden_dim);
  const int64_t row_capacity = (spec.chunk_len + 15) / 16 * 16;
  mlp.Reserve(kBlockRows * spec.head_dim);
  slopes.Reserve((spec.num_layers - 1) * kBlockRows * spec.hidden_dim);
  scaled.Reserve(kBlockRows * widest);
  rows[0].Reserve(kBlockRows * widest);
  rows[1].Reserve(kBlockRows * widest);
  momentum_row.Reserve(kBlockRows * widest);
  scores.Reserve(kBlockRows * row_capacity);
  row_weights.Reserve(kBlockRows * row_capacity);
  gammas.Reserve(kBlockRows * spec.head_dim);
  new_weights.resize(static_cast<size_t>(spec.num_weights()));
  new_momentum.resize(static_cast<size_t>(spec.num_weights()));
}

std::unique_ptr<OpenChunk> MemoryScratch::TakeChunk(const MemorySpec& spec) {
  if (spare != nullptr && spare->spec == spec) return std::move(spare);
  return std::make_unique<OpenChunk>(spec);
}

}  // namespace headwise
