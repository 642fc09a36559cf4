// Small neural memories, for tests.

#ifndef HEADWISE_WORKER_MEMORY_PARTS_MEMORY_FIXTURE_H_
#define HEADWISE_WORKER_MEMORY_PARTS_MEMORY_FIXTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/counter_random.h"
#include "worker/memory_parts/memory_messages.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {

// Chunks end often, and every kind of weight is there.
inline MemorySpec TestMemorySpec() {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.num_layers = 2;
  spec.hidden_dim = 32;
  spec.norm = MemoryNorm::kLayer;
  spec.chunk_len = 8;
  return spec;
}

// Uniform in [low, high), a function of the seed.
inline std::vector<float> RandomFloats(int64_t n, uint64_t seed,
                                       float low = -1.0f, float high = 1.0f) {
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) {
    out.push_back(low + (high - low) * static_cast<float>(UniformAt(seed, i)));
  }
  return out;
}

// The first state of head `head`.
inline MemoryHead TestMemoryHead(const MemorySpec& spec, int64_t head) {
  return MemoryHead(
      spec, RandomFloats(spec.num_weights(), 100 + head, -0.25f, 0.25f));
}

// Rows [first, first + count) of a stream that the seed gives, for a share.
inline WriteMemoryRequest TestMemoryWrite(const std::string& memory_id,
                                          const MemoryShare& share,
                                          int64_t first, int64_t count,
                                          uint64_t seed = 1) {
  const int64_t width = share.num_heads * share.spec.head_dim;
  const auto rows = [&](uint64_t tensor, int64_t row_floats, float low,
                        float high) {
    std::vector<float> all = RandomFloats((first + count) * row_floats,
                                          seed * 10 + tensor, low, high);
    all.erase(all.begin(), all.begin() + first * row_floats);
    return all;
  };
  WriteMemoryRequest request;
  request.memory_id = memory_id;
  request.num_rows = count;
  request.keys = rows(0, width, -0.5f, 0.5f);
  request.values = rows(1, width, -0.5f, 0.5f);
  request.queries = rows(2, width, -0.5f, 0.5f);
  request.theta = rows(3, share.num_heads, 0.0f, 0.01f);
  request.eta = rows(4, share.num_heads, 0.0f, 0.6f);
  request.alpha = rows(5, share.num_heads, 0.0f, 0.05f);
  return request;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_PARTS_MEMORY_FIXTURE_H_
