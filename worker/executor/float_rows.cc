#include "worker/executor/float_rows.h"

#include "absl/types/span.h"

namespace headwise {

std::vector<float> FloatRow(const TensorView* tensor, int64_t first,
                            int64_t count) {
  if (tensor == nullptr) return {};
  std::vector<float> all(static_cast<size_t>(tensor->cols()));
  DequantizeRow(*tensor, 0, absl::MakeSpan(all));
  return {all.begin() + first, all.begin() + first + count};
}

std::vector<float> TransposedRows(const TensorView* tensor, int64_t first,
                                  int64_t count) {
  if (tensor == nullptr) return {};
  const int64_t cols = tensor->cols();
  std::vector<float> row(static_cast<size_t>(cols));
  std::vector<float> out(static_cast<size_t>(cols * count));
  for (int64_t r = 0; r < count; ++r) {
    DequantizeRow(*tensor, first + r, absl::MakeSpan(row));
    for (int64_t c = 0; c < cols; ++c) out[c * count + r] = row[c];
  }
  return out;
}

FloatBlocks HeadRows(const TensorView* keys, const TensorView* values,
                     int64_t head) {
  if (keys == nullptr) return {};
  const int64_t num_rows = keys->shape[1];
  std::vector<float> key(static_cast<size_t>(keys->cols()));
  std::vector<float> value = key;
  FloatBlocks blocks(num_rows, keys->cols());
  for (int64_t r = 0; r < num_rows; ++r) {
    DequantizeRow(*keys, head * num_rows + r, absl::MakeSpan(key));
    DequantizeRow(*values, head * num_rows + r, absl::MakeSpan(value));
    blocks.Put(r, key.data(), value.data());
  }
  return blocks;
}

}  // namespace headwise
