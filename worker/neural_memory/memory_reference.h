// Tests only: a memory in double, token by token, as the paper writes it down.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_REFERENCE_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "model/memory_spec.h"

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
  // With the weights that the open chunk began with.
  Doubles ReadChunkStart(const Doubles& query) const;
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

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_MEMORY_REFERENCE_H_
