#include "worker/neural_memory/memory_tokens.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"

namespace headwise {

MemoryTokens::MemoryTokens(const MemorySpec& spec, int64_t num_tokens,
                           uint32_t seed)
    : head_dim(spec.head_dim), num_tokens(num_tokens) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
  const auto vectors = [&](bool is_unit) {
    std::vector<float> x(static_cast<size_t>(num_tokens * head_dim));
    for (float& v : x) v = normal(random);
    for (int64_t t = 0; is_unit && t < num_tokens; ++t) {
      float squares = 0.0f;
      float* row = x.data() + t * head_dim;
      for (int64_t i = 0; i < head_dim; ++i) squares += row[i] * row[i];
      for (int64_t i = 0; i < head_dim; ++i) row[i] /= std::sqrt(squares);
    }
    return x;
  };
  keys = vectors(true);
  values = vectors(false);
  queries = vectors(true);
  out.resize(keys.size());
  surprise.resize(static_cast<size_t>(num_tokens));
  const float theta_max =
      0.01f * std::min(1.0f, 4.0f / static_cast<float>(spec.chunk_len));
  for (int64_t t = 0; t < num_tokens; ++t) {
    theta.push_back(theta_max * uniform(random));
    eta.push_back(0.9f * uniform(random));
    alpha.push_back(0.02f * uniform(random));
  }
  for (int64_t l = 0; l < spec.num_layers; ++l) {
    // Keys have length 1; a norm of small sums would make large gradients.
    const float size =
        l == 0 ? 1.0f
               : 1.5f / std::sqrt(static_cast<float>(spec.layer_inputs(l)));
    while (static_cast<int64_t>(initial.size()) < spec.layer_begin(l + 1)) {
      initial.push_back(size * normal(random));
    }
  }
  while (static_cast<int64_t>(initial.size()) < spec.num_weights()) {
    initial.push_back(0.1f * normal(random));
  }
}

MemoryRows MemoryTokens::Rows(int64_t begin, int64_t end) {
  MemoryRows rows;
  rows.num_rows = end - begin;
  rows.keys = keys.data() + begin * head_dim;
  rows.values = values.data() + begin * head_dim;
  rows.queries = queries.data() + begin * head_dim;
  rows.out = out.data() + begin * head_dim;
  rows.row_stride = head_dim;
  rows.theta = theta.data() + begin;
  rows.eta = eta.data() + begin;
  rows.alpha = alpha.data() + begin;
  rows.surprise = surprise.data() + begin;
  return rows;
}

std::vector<MemorySpec> AllKindsOfMemory() {
  std::vector<MemorySpec> specs;
  for (int64_t layers = 1; layers <= 4; ++layers) {
    for (auto activation : {MemoryActivation::kSilu, MemoryActivation::kGelu}) {
      for (auto norm :
           {MemoryNorm::kNone, MemoryNorm::kLayer, MemoryNorm::kRms}) {
        for (bool residual : {false, true}) {
          MemorySpec spec;
          spec.head_dim = 16;
          spec.num_layers = layers;
          spec.hidden_dim = layers == 1 ? 0 : 48;
          spec.activation = activation;
          spec.norm = norm;
          spec.residual = residual;
          specs.push_back(spec);
        }
      }
    }
  }
  return specs;
}

std::string NameOf(const MemorySpec& spec) {
  const char* const norms[] = {"no norm", "layer norm", "rms norm"};
  return absl::StrCat(
      spec.num_layers, " layers, ",
      spec.activation == MemoryActivation::kSilu ? "silu" : "gelu", ", ",
      norms[static_cast<int>(spec.norm)],
      spec.residual ? ", residual" : ", no residual",
      spec.rule == MemoryRule::kToken ? ", by token" : ", by chunk",
      ", chunks of ", spec.chunk_len);
}

double RelativeError(absl::Span<const float> a, const Doubles& b) {
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < b.size(); ++i) {
    error = std::max(error, std::abs(a[i] - b[i]));
    size = std::max(size, std::abs(b[i]));
    if (std::isnan(a[i])) return NAN;
  }
  return size == 0.0 ? error : error / size;
}

}  // namespace headwise
