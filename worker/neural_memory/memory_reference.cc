#include "worker/neural_memory/memory_reference.h"

#include <cmath>
#include <utility>

namespace headwise {
namespace {

double Activation(MemoryActivation activation, double z) {
  if (activation == MemoryActivation::kSilu) return z / (1.0 + std::exp(-z));
  return 0.5 * z * (1.0 + std::erf(z / std::sqrt(2.0)));
}

double Slope(MemoryActivation activation, double z) {
  if (activation == MemoryActivation::kSilu) {
    const double s = 1.0 / (1.0 + std::exp(-z));
    return s * (1.0 + z * (1.0 - s));
  }
  return 0.5 * (1.0 + std::erf(z / std::sqrt(2.0))) +
         z * std::exp(-0.5 * z * z) / std::sqrt(2.0 * M_PI);
}

struct Trace {
  std::vector<Doubles> inputs;  // of each layer
  std::vector<Doubles> sums;    // out of each layer, before the activation
  Doubles normed;
  double scale = 1.0;  // of the norm
  Doubles out;
};

void Normalize(const MemorySpec& spec, Trace* trace) {
  Doubles x = trace->sums.back();
  const auto n = static_cast<double>(x.size());
  if (spec.norm == MemoryNorm::kLayer) {
    double mean = 0.0;
    for (double v : x) mean += v / n;
    for (double& v : x) v -= mean;
  }
  if (spec.norm != MemoryNorm::kNone) {
    double square = 0.0;
    for (double v : x) square += v * v / n;
    trace->scale = 1.0 / std::sqrt(square + 1e-5);
    for (double& v : x) v *= trace->scale;
  }
  trace->normed = x;
}

Trace Run(const MemorySpec& spec, const Doubles& weights, const Doubles& x) {
  Trace trace;
  Doubles in = x;
  for (int64_t l = 0; l < spec.num_layers; ++l) {
    trace.inputs.push_back(in);
    const int64_t width = spec.layer_outputs(l);
    Doubles z(static_cast<size_t>(width), 0.0);
    for (size_t i = 0; i < in.size(); ++i) {
      const double* row = weights.data() + spec.layer_begin(l) +
                          static_cast<int64_t>(i) * width;
      for (int64_t j = 0; j < width; ++j) z[j] += in[i] * row[j];
    }
    trace.sums.push_back(z);
    for (double& v : z) v = Activation(spec.activation, v);
    in = z;
  }
  Normalize(spec, &trace);
  const double* gamma = weights.data() + spec.layer_begin(spec.num_layers);
  for (size_t i = 0; i < x.size(); ++i) {
    const double factor = spec.norm == MemoryNorm::kNone ? 1.0 : 1.0 + gamma[i];
    trace.out.push_back(trace.normed[i] * factor +
                        (spec.residual ? x[i] : 0.0));
  }
  return trace;
}

// With respect to the MLP's output; gamma's share goes to `gamma_grad`.
Doubles OutputGradient(const MemorySpec& spec, const Doubles& weights,
                       const Trace& trace, const Doubles& value,
                       double* gamma_grad) {
  const size_t n = value.size();
  Doubles g(n);
  for (size_t i = 0; i < n; ++i) {
    g[i] = double{spec.loss_scale} * (trace.out[i] - value[i]);
  }
  if (spec.norm == MemoryNorm::kNone) return g;
  const double* gamma = weights.data() + spec.layer_begin(spec.num_layers);
  double mean = 0.0, product = 0.0;
  for (size_t i = 0; i < n; ++i) {
    gamma_grad[i] = g[i] * trace.normed[i];
    g[i] *= 1.0 + gamma[i];
    mean += g[i] / static_cast<double>(n);
    product += g[i] * trace.normed[i] / static_cast<double>(n);
  }
  if (spec.norm == MemoryNorm::kRms) mean = 0.0;
  for (size_t i = 0; i < n; ++i) {
    g[i] = trace.scale * (g[i] - mean - trace.normed[i] * product);
  }
  return g;
}

}  // namespace

Doubles ReferenceOutput(const MemorySpec& spec, const Doubles& weights,
                        const Doubles& x) {
  return Run(spec, weights, x).out;
}

double ReferenceLoss(const MemorySpec& spec, const Doubles& weights,
                     const Doubles& key, const Doubles& value) {
  const Doubles out = Run(spec, weights, key).out;
  double sum = 0.0;
  for (size_t i = 0; i < value.size(); ++i) {
    sum += (out[i] - value[i]) * (out[i] - value[i]);
  }
  return 0.5 * double{spec.loss_scale} * sum;
}

Doubles ReferenceGradient(const MemorySpec& spec, const Doubles& weights,
                          const Doubles& key, const Doubles& value) {
  const Trace trace = Run(spec, weights, key);
  Doubles gradient(weights.size(), 0.0);
  Doubles g =
      OutputGradient(spec, weights, trace, value,
                     gradient.data() + spec.layer_begin(spec.num_layers));
  for (int64_t l = spec.num_layers - 1; l >= 0; --l) {
    const Doubles& in = trace.inputs[l];
    const int64_t begin = spec.layer_begin(l);
    const int64_t width = spec.layer_outputs(l);
    Doubles below(in.size(), 0.0);
    for (size_t i = 0; i < in.size(); ++i) {
      for (int64_t j = 0; j < width; ++j) {
        const int64_t at = begin + static_cast<int64_t>(i) * width + j;
        gradient[at] = in[i] * g[j];
        below[i] += g[j] * weights[at];
      }
      if (l > 0) below[i] *= Slope(spec.activation, trace.sums[l - 1][i]);
    }
    g = below;
  }
  return gradient;
}

ReferenceMemory::ReferenceMemory(const MemorySpec& spec, Doubles weights)
    : spec_(spec),
      chunk_start_(weights),
      weights_(std::move(weights)),
      momentum_(weights_.size(), 0.0),
      chunk_sum_(weights_.size(), 0.0) {}

double ReferenceMemory::Write(const Doubles& key, const Doubles& value,
                              double theta, double eta, double alpha) {
  const int64_t row = num_tokens_++ % spec_.chunk_len;
  const Doubles u = ReferenceGradient(spec_, chunk_start_, key, value);
  const bool is_last = row + 1 == spec_.chunk_len;
  if (row == 0) {
    chunk_eta_ = eta;
    chunk_alpha_ = alpha;
  }
  double squares = 0.0;
  for (size_t i = 0; i < u.size(); ++i) {
    squares += u[i] * u[i];
    if (spec_.rule == MemoryRule::kToken) {
      momentum_[i] = eta * momentum_[i] - theta * u[i];
      weights_[i] = (1.0 - alpha) * weights_[i] + momentum_[i];
      continue;
    }
    chunk_sum_[i] += theta * u[i];
    if (!is_last) continue;
    momentum_[i] = chunk_eta_ * momentum_[i] - chunk_sum_[i];
    weights_[i] = (1.0 - chunk_alpha_) * weights_[i] + momentum_[i];
    chunk_sum_[i] = 0.0;
  }
  if (is_last) chunk_start_ = weights_;
  return std::sqrt(squares);
}

Doubles ReferenceMemory::Read(const Doubles& query) const {
  return ReferenceOutput(spec_, weights_, query);
}

Doubles ReferenceMemory::ReadChunkStart(const Doubles& query) const {
  return ReferenceOutput(spec_, chunk_start_, query);
}

}  // namespace headwise
