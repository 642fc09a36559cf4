// Attention of heads to rows that they may see, with gradients.
//
// Legend: B sequences, T queries of each, H heads of d.

#ifndef HEADWISE_LAB_TITANS_WINDOW_ATTENTION_H_
#define HEADWISE_LAB_TITANS_WINDOW_ATTENTION_H_

#include <cstdint>

#include "model/hyperparameters.h"
#include "torch/torch.h"

namespace headwise {

// Of T positions, [T, d / 2]; angles are computed in double.
struct RotationTable {
  torch::Tensor cosine;
  torch::Tensor sine;
};

// Of positions [first, first + count). Requires rotary_dim = d.
RotationTable MakeRotationTable(const Rope& rope, int64_t first, int64_t count,
                                const torch::TensorOptions& options);

// Half-split pairs; x [B, H, T, d].
torch::Tensor Rotate(const torch::Tensor& x, const RotationTable& rotation);

// Keys and values that a block of queries sees. Undefined: none.
struct VisibleRows {
  torch::Tensor keys;    // [B, H, n, d]
  torch::Tensor values;  // [B, H, n, d]
  torch::Tensor mask;    // [T, n]: 0 where a query sees a key, else -inf
};

// [T, n]: query i is key `first + i` and sees `window` keys up to its own.
torch::Tensor WindowMask(int64_t num_queries, int64_t num_keys, int64_t first,
                         int64_t window, const torch::TensorOptions& options);

// One softmax over plain rows, which the query meets as it is before rotation,
// and rotated ones. query, plain_query and the result [B, H, T, d].
torch::Tensor AttendRows(const torch::Tensor& query,
                         const torch::Tensor& plain_query,
                         const VisibleRows& plain, const VisibleRows& rotated);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_WINDOW_ATTENTION_H_
