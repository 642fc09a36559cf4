// Parts of a model's tensors as fp32, as a shard keeps what no matrix product
// reads. Without the tensor each is empty.

#ifndef HEADWISE_WORKER_EXECUTOR_FLOAT_ROWS_H_
#define HEADWISE_WORKER_EXECUTOR_FLOAT_ROWS_H_

#include <cstdint>
#include <vector>

#include "model/tensor.h"
#include "worker/executor/float_blocks.h"

namespace headwise {

// Elements [first, first + count) of the first row.
std::vector<float> FloatRow(const TensorView* tensor, int64_t first,
                            int64_t count);

// Rows [first, first + count) of a matrix, transposed.
std::vector<float> TransposedRows(const TensorView* tensor, int64_t first,
                                  int64_t count);

// Rows of keys and values of one head, [num_heads, rows, head_dim] tensors.
FloatBlocks HeadRows(const TensorView* keys, const TensorView* values,
                     int64_t head);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_FLOAT_ROWS_H_
