#include "bench/kernels/vanilla_attention.h"

#include <algorithm>
#include <cmath>

namespace headwise {
namespace {

// out[i][j] = sum over k of a[i][k] * b[k][j], k outside j so that the compiler
// can vectorize over j.
void Product(const float* a, const float* b, float* out, int64_t num_rows,
             int64_t inner, int64_t num_columns) {
  std::fill_n(out, num_rows * num_columns, 0.0f);
  for (int64_t i = 0; i < num_rows; ++i) {
    float* row = out + i * num_columns;
    for (int64_t k = 0; k < inner; ++k) {
      const float factor = a[i * inner + k];
      const float* other = b + k * num_columns;
      for (int64_t j = 0; j < num_columns; ++j) row[j] += factor * other[j];
    }
  }
}

void CausalSoftmax(float* scores, int64_t num_tokens) {
  for (int64_t i = 0; i < num_tokens; ++i) {
    float* row = scores + i * num_tokens;
    const float max = *std::max_element(row, row + i + 1);
    float sum = 0.0f;
    for (int64_t j = 0; j <= i; ++j) sum += row[j] = std::exp(row[j] - max);
    for (int64_t j = 0; j <= i; ++j) row[j] /= sum;
    std::fill(row + i + 1, row + num_tokens, 0.0f);
  }
}

}  // namespace

void VanillaAttention(const VanillaArgs& args, std::vector<float>* scores) {
  const int64_t n = args.num_tokens;
  const int64_t dim = args.head_dim;
  std::vector<float> transposed(static_cast<size_t>(dim * n));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t d = 0; d < dim; ++d) {
      transposed[d * n + j] = args.keys[j * dim + d];
    }
  }
  scores->resize(static_cast<size_t>(n * n));
  Product(args.queries, transposed.data(), scores->data(), n, dim, n);
  CausalSoftmax(scores->data(), n);
  Product(scores->data(), args.values, args.out, n, n, dim);
}

}  // namespace headwise
