#include "worker/neural_memory/row_weights.h"

#include <algorithm>

namespace headwise {

ChunkSums TokenSums(const ChunkGates& gates, int64_t n, float* of_weights,
                    float* of_momentum) {
  // r, w and m of row i: its decay to the chunk's end, and how much of it is in
  // the weights and in the momentum there.
  double r = 1.0, w = 1.0, m = 1.0;
  for (int64_t i = n - 1;; --i) {
    const double theta = gates.theta[i];
    of_weights[i] = static_cast<float>(w * theta);
    of_momentum[i] = static_cast<float>(m * theta);
    const double eta = gates.eta[i];
    const double keep = 1.0 - gates.alpha[i];
    if (i == 0) {
      return {static_cast<float>(r * keep), static_cast<float>(eta * w),
              static_cast<float>(eta * m)};
    }
    r *= keep;
    w = r + eta * w;
    m *= eta;
  }
}

ChunkSums WholeChunkSums(const ChunkGates& gates, int64_t n, float* of_weights,
                         float* of_momentum) {
  std::copy_n(gates.theta, n, of_weights);
  std::copy_n(gates.theta, n, of_momentum);
  return {static_cast<float>(1.0 - gates.alpha[0]), gates.eta[0], gates.eta[0]};
}

void PrefixSums::Reset() {
  num_rows_ = 0;
  keep_ = 1.0;
  carry_ = 0.0;
  decay_ = 1.0;
  of_weights_.clear();
  of_momentum_.clear();
}

void PrefixSums::Next(const ChunkGates& gates) {
  const double eta = gates.eta[num_rows_];
  const double keep = 1.0 - gates.alpha[num_rows_];
  double* weights = of_weights_.data();
  double* momentum = of_momentum_.data();
  for (int64_t i = 0; i < num_rows_; ++i) {
    momentum[i] *= eta;
    weights[i] = keep * weights[i] + momentum[i];
  }
  of_weights_.push_back(1.0);
  of_momentum_.push_back(1.0);
  decay_ *= eta;
  keep_ *= keep;
  carry_ = keep * carry_ + decay_;
  ++num_rows_;
}

void PrefixSums::Row(const ChunkGates& gates, float* row) const {
  for (int64_t i = 0; i < num_rows_; ++i) {
    row[i] = static_cast<float>(-of_weights_[i] * gates.theta[i]);
  }
}

}  // namespace headwise
