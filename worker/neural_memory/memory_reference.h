// Tests only: a memory in double, token by token, as the paper writes it down.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_REFERENCE_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "model/memory_spec.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {

using Doubles = std::vector<double>;

// M(x) with the weights [spec.num_weights()]; x, value [head_dim].
Doubles ReferenceOutput(const MemorySpec& spec, const Doubles& weights,
                        const Doubles& x);
double ReferenceLoss(const MemorySpec& spec, const Doubles& weights,
                     const Doubles& key, const Doubles& value);
// Of the loss, with respect to the weights; by the chain rule.
Doubles ReferenceGradient(const MemorySpec& spec, const Doubles& weights,
                          const Doubles& key, const Doubles& value);

// Equations 13 and 14 (or the rule by chunk), every gradient at the weights
// that its chunk began with; reads build M_t.
class ReferenceMemory {
 public:
  ReferenceMemory(const MemorySpec& spec, Doubles weights);

  // Returns the gradient's Euclidean norm.
  double Write(const Doubles& key, const Doubles& value, double theta,
               double eta, double alpha);
  Doubles Read(const Doubles& query) const;
  const Doubles& weights() const { return weights_; }
  const Doubles& momentum() const { return momentum_; }

 private:
  const MemorySpec spec_;
  int64_t num_tokens_ = 0;
  Doubles chunk_start_;
  Doubles weights_;
  Doubles momentum_;
  Doubles chunk_sum_;  // by chunk: sum of theta * gradient
  double chunk_eta_ = 0.0, chunk_alpha_ = 0.0;
};

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

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_REFERENCE_H_
