// A neural memory in double, token by token: equations 13 and 14 of Titans
// (arXiv 2501.00663) with gradients at the weights that a chunk began with.

#ifndef HEADWISE_WORKER_EXECUTOR_REFERENCE_MEMORY_H_
#define HEADWISE_WORKER_EXECUTOR_REFERENCE_MEMORY_H_

#include <cstdint>
#include <vector>

#include "model/memory_spec.h"

namespace headwise {

class ReferenceMemory {
 public:
  using Vector = std::vector<double>;
  // `initial` as MemorySpec orders it.
  ReferenceMemory(const MemorySpec& spec, Vector initial);

  void Write(const Vector& key, const Vector& value, double theta, double eta,
             double alpha);
  Vector Read(const Vector& query) const { return Output(weights_, query); }
  Vector ReadChunkStart(const Vector& query) const {
    return Output(num_tokens_ % spec_.chunk_len == 0 ? weights_ : start_,
                  query);
  }

 private:
  // What goes into every layer, and at last what comes out of the last one.
  std::vector<Vector> Layers(const Vector& weights, const Vector& key) const;
  Vector Output(const Vector& weights, const Vector& key) const;
  Vector Gradient(const Vector& weights, const Vector& key,
                  const Vector& value) const;
  int64_t Width(int64_t layer) const;  // of what goes into it
  double Active(double z) const;
  double Slope(double z) const;
  // Factor and shift of the norm: normed = (x - shift) * factor.
  void Norm(const Vector& x, double* shift, double* factor) const;

  const MemorySpec spec_;
  Vector weights_, momentum_;
  Vector start_;  // weights that the open chunk began with
  int64_t num_tokens_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_REFERENCE_MEMORY_H_
