#include "server/neural_memory/initial_weights.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/counter_random.h"

namespace headwise {
namespace {

std::vector<float> GivenWeights(const MemoryConfig& config,
                                const std::string& bytes, int64_t head) {
  std::vector<float> weights(static_cast<size_t>(config.spec.num_weights()));
  const size_t head_bytes = weights.size() * sizeof(float);
  std::memcpy(weights.data(), bytes.data() + head * head_bytes, head_bytes);
  return weights;
}

}  // namespace

std::vector<float> DrawMemoryWeights(const MemorySpec& spec, uint64_t seed,
                                     int64_t head) {
  std::vector<float> weights;
  weights.reserve(static_cast<size_t>(spec.num_weights()));
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    const int64_t in = layer == 0 ? spec.head_dim : spec.hidden_dim;
    const int64_t out =
        layer == spec.num_layers - 1 ? spec.head_dim : spec.hidden_dim;
    const double limit = std::sqrt(6.0 / static_cast<double>(in + out));
    for (int64_t i = 0; i < in * out; ++i) {
      const int64_t at =
          head * spec.num_weights() + static_cast<int64_t>(weights.size());
      weights.push_back(
          static_cast<float>((2.0 * UniformAt(seed, at) - 1.0) * limit));
    }
  }
  weights.resize(static_cast<size_t>(spec.num_weights()), 0.0f);
  return weights;
}

absl::Status CheckMemoryStart(const MemoryConfig& config,
                              const MemoryStart& start) {
  if (start.weights == nullptr) return absl::OkStatus();
  const int64_t num_weights = config.spec.num_weights();
  const auto bytes = static_cast<int64_t>(start.weights->size());
  const int64_t expected = config.num_heads * num_weights * 4;
  if (bytes != expected) {
    return absl::InvalidArgumentError(absl::StrCat(
        "weights: ", bytes, " bytes; ", config.num_heads, " heads of ",
        num_weights, " fp32 weights have ", expected));
  }
  for (int64_t head = 0; head < config.num_heads; ++head) {
    const std::vector<float> weights =
        GivenWeights(config, *start.weights, head);
    double squares = 0.0;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!std::isfinite(weights[i])) {
        return absl::InvalidArgumentError(
            absl::StrCat("weights: ", weights[i], " at head ", head,
                         ", weight ", i, " is not finite"));
      }
      squares += double{weights[i]} * weights[i];
    }
    if (std::sqrt(squares) > config.spec.max_norm) {
      return absl::InvalidArgumentError(absl::StrCat(
          "weights: those of head ", head, " have norm ", std::sqrt(squares),
          ", max_norm is ", config.spec.max_norm));
    }
  }
  return absl::OkStatus();
}

std::vector<float> InitialMemoryWeights(const MemoryConfig& config,
                                        const MemoryStart& start,
                                        int64_t head) {
  if (start.weights != nullptr) {
    return GivenWeights(config, *start.weights, head);
  }
  return DrawMemoryWeights(config.spec, start.seed, head);
}

}  // namespace headwise
