// Tests only: what memories are written, and kinds of them.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_TOKENS_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_TOKENS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/memory_spec.h"
#include "worker/neural_memory/memory_head.h"
#include "worker/neural_memory/memory_reference.h"

namespace headwise {

// Tokens of a test with unit keys and queries, and initial weights, from a
// seed; theta so small that the memory is far from blowing up, where rounding
// errors would grow without bound.
struct MemoryTokens {
  MemoryTokens(const MemorySpec& spec, int64_t num_tokens, uint32_t seed);

  MemoryRows Rows(int64_t begin, int64_t end);
  Doubles Key(int64_t t) const { return Vector(keys, t); }
  Doubles Value(int64_t t) const { return Vector(values, t); }
  Doubles Query(int64_t t) const { return Vector(queries, t); }
  Doubles Vector(const std::vector<float>& x, int64_t t) const {
    return Doubles(x.begin() + t * head_dim, x.begin() + (t + 1) * head_dim);
  }

  int64_t head_dim = 0;
  int64_t num_tokens = 0;
  std::vector<float> initial;
  std::vector<float> keys, values, queries, out;   // [num_tokens][head_dim]
  std::vector<float> theta, eta, alpha, surprise;  // [num_tokens]
};

// Every combination of depth 1 to 4, activation, norm, residual; small.
std::vector<MemorySpec> AllKindsOfMemory();
std::string NameOf(const MemorySpec& spec);

// The largest |a - b| over the largest |b|.
double RelativeError(absl::Span<const float> a, const Doubles& b);

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_TOKENS_H_
