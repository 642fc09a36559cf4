#include "lab/titans/window_attention.h"

#include <cmath>
#include <limits>
#include <vector>

namespace headwise {

RotationTable MakeRotationTable(const Rope& rope, int64_t first, int64_t count,
                                const torch::TensorOptions& options) {
  const torch::Tensor frequencies = torch::tensor(
      ComputeRopeFrequencies(rope).inverse_frequencies, torch::kFloat64);
  const torch::Tensor angles =
      torch::arange(first, first + count, torch::kFloat64).unsqueeze(1) *
      frequencies;
  return {.cosine = angles.cos().to(options), .sine = angles.sin().to(options)};
}

torch::Tensor Rotate(const torch::Tensor& x, const RotationTable& rotation) {
  const std::vector<torch::Tensor> halves = x.chunk(2, -1);
  return torch::cat({halves[0] * rotation.cosine - halves[1] * rotation.sine,
                     halves[0] * rotation.sine + halves[1] * rotation.cosine},
                    -1);
}

torch::Tensor WindowMask(int64_t num_queries, int64_t num_keys, int64_t first,
                         int64_t window, const torch::TensorOptions& options) {
  const torch::Tensor query =
      torch::arange(first, first + num_queries).unsqueeze(1);
  const torch::Tensor key = torch::arange(num_keys).unsqueeze(0);
  return torch::zeros({num_queries, num_keys}, options)
      .masked_fill_((key > query) | (query - key >= window),
                    -std::numeric_limits<double>::infinity());
}

torch::Tensor AttendRows(const torch::Tensor& query,
                         const torch::Tensor& plain_query,
                         const VisibleRows& plain, const VisibleRows& rotated) {
  const double softmax_scale =
      1.0 / std::sqrt(static_cast<double>(query.size(-1)));
  const auto scores = [&](const torch::Tensor& q, const VisibleRows& rows) {
    return torch::matmul(q, rows.keys.transpose(2, 3)) * softmax_scale +
           rows.mask;
  };
  if (!plain.keys.defined()) {
    return torch::matmul(scores(query, rotated).softmax(-1), rotated.values);
  }
  const torch::Tensor probs =
      torch::cat({scores(plain_query, plain), scores(query, rotated)}, -1)
          .softmax(-1);
  return torch::matmul(probs, torch::cat({plain.values, rotated.values}, 2));
}

}  // namespace headwise
