#include "worker/executor/reference_memory.h"

#include <cmath>
#include <utility>

namespace headwise {

ReferenceMemory::ReferenceMemory(const MemorySpec& spec, Vector initial)
    : spec_(spec),
      weights_(std::move(initial)),
      momentum_(weights_.size(), 0.0) {}

int64_t ReferenceMemory::Width(int64_t layer) const {
  return layer == 0 || layer == spec_.num_layers ? spec_.head_dim
                                                 : spec_.hidden_dim;
}

double ReferenceMemory::Active(double z) const {
  return spec_.activation == MemoryActivation::kSilu
             ? z / (1.0 + std::exp(-z))
             : 0.5 * z * (1.0 + std::erf(z / std::sqrt(2.0)));
}

double ReferenceMemory::Slope(double z) const {
  if (spec_.activation == MemoryActivation::kSilu) {
    const double s = 1.0 / (1.0 + std::exp(-z));
    return s * (1.0 + z * (1.0 - s));
  }
  return 0.5 * (1.0 + std::erf(z / std::sqrt(2.0))) +
         z * std::exp(-z * z / 2.0) / std::sqrt(2.0 * M_PI);
}

// Before their activation, but for the key.
std::vector<ReferenceMemory::Vector> ReferenceMemory::Layers(
    const Vector& weights, const Vector& key) const {
  std::vector<Vector> layers = {key};
  size_t at = 0;
  for (int64_t layer = 0; layer < spec_.num_layers; ++layer) {
    Vector out(static_cast<size_t>(Width(layer + 1)), 0.0);
    for (int64_t i = 0; i < Width(layer); ++i) {
      const double z = layers[layer][i];
      const double x = layer == 0 ? z : Active(z);
      for (double& o : out) o += x * weights[at++];
    }
    layers.push_back(std::move(out));
  }
  return layers;
}

void ReferenceMemory::Norm(const Vector& x, double* shift,
                           double* factor) const {
  const auto n = static_cast<double>(x.size());
  *shift = 0.0;
  *factor = 1.0;
  if (spec_.norm == MemoryNorm::kNone) return;
  if (spec_.norm == MemoryNorm::kLayer) {
    for (const double v : x) *shift += v / n;
  }
  double squares = 0.0;
  for (const double v : x) squares += (v - *shift) * (v - *shift);
  *factor = 1.0 / std::sqrt(squares / n + 1e-5);
}

ReferenceMemory::Vector ReferenceMemory::Output(const Vector& weights,
                                                const Vector& key) const {
  Vector out = Layers(weights, key).back();
  double shift, factor;
  Norm(out, &shift, &factor);
  const size_t gamma = weights.size() - out.size();
  for (size_t i = 0; i < out.size(); ++i) {
    if (spec_.norm != MemoryNorm::kNone) {
      out[i] = (out[i] - shift) * factor * (1.0 + weights[gamma + i]);
    }
    if (spec_.residual) out[i] += key[i];
  }
  return out;
}

// Of loss_scale / 2 * |M(key) - value|^2.
ReferenceMemory::Vector ReferenceMemory::Gradient(const Vector& weights,
                                                  const Vector& key,
                                                  const Vector& value) const {
  const std::vector<Vector> layers = Layers(weights, key);
  Vector gradient(weights.size(), 0.0);
  Vector error = Output(weights, key);
  const size_t n = error.size();
  for (size_t i = 0; i < n; ++i) {
    error[i] = spec_.loss_scale * (error[i] - value[i]);
  }
  if (spec_.norm != MemoryNorm::kNone) {
    double shift, factor;
    Norm(layers.back(), &shift, &factor);
    const size_t gamma = weights.size() - n;
    Vector normed(n);
    double mean = 0.0, along = 0.0;
    for (size_t i = 0; i < n; ++i) {
      normed[i] = (layers.back()[i] - shift) * factor;
      gradient[gamma + i] = error[i] * normed[i];
      error[i] *= 1.0 + weights[gamma + i];
      mean += error[i] / static_cast<double>(n);
      along += error[i] * normed[i] / static_cast<double>(n);
    }
    if (spec_.norm == MemoryNorm::kRms) mean = 0.0;
    for (size_t i = 0; i < n; ++i) {
      error[i] = factor * (error[i] - mean - normed[i] * along);
    }
  }
  size_t end = weights.size() - (spec_.norm == MemoryNorm::kNone ? 0 : n);
  for (int64_t layer = spec_.num_layers - 1; layer >= 0; --layer) {
    const auto in = static_cast<size_t>(Width(layer));
    const size_t begin = end - in * error.size();
    Vector before(in, 0.0);
    for (size_t i = 0; i < in; ++i) {
      const double z = layers[layer][i];
      for (size_t o = 0; o < error.size(); ++o) {
        const size_t w = begin + i * error.size() + o;
        gradient[w] = (layer == 0 ? z : Active(z)) * error[o];
        before[i] += weights[w] * error[o];
      }
      if (layer > 0) before[i] *= Slope(z);
    }
    error = std::move(before);
    end = begin;
  }
  return gradient;
}

void ReferenceMemory::Write(const Vector& key, const Vector& value,
                            double theta, double eta, double alpha) {
  if (num_tokens_ % spec_.chunk_len == 0) start_ = weights_;
  const Vector gradient = Gradient(start_, key, value);
  for (size_t i = 0; i < weights_.size(); ++i) {
    momentum_[i] = eta * momentum_[i] - theta * gradient[i];
    weights_[i] = (1.0 - alpha) * weights_[i] + momentum_[i];
  }
  ++num_tokens_;
}

}  // namespace headwise
