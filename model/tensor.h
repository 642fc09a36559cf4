// Tensors as they lie in a model file.

#ifndef HEADWISE_MODEL_TENSOR_H_
#define HEADWISE_MODEL_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace headwise {

// Element formats of model files. The quantized ones are GGML's blocks, as they
// lie in a GGUF file.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct DTypeInfo {
  const char* name;     // "Q4_1"
  int64_t block_len;    // elements in a block; 1 for floats
  int64_t block_bytes;  // bytes of a block
};

// For every enumerator.
const DTypeInfo& InfoOf(DType dtype);

// A view of one tensor inside a mapped file; the Model owns the bytes.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  // Row-major, outermost first: a matrix that maps in -> out is [out, in]. The
  // last dimension is a multiple of the dtype's block_len.
  std::vector<int64_t> shape;
  absl::Span<const uint8_t> bytes;

  // Of more than two dimensions, all but the last are rows.
  int64_t rows() const;
  int64_t cols() const { return shape.empty() ? 0 : shape.back(); }
  // Bytes of one row of cols() elements.
  int64_t row_bytes() const;
};

// Writes row `row` of `tensor` as `tensor.cols()` floats: the definition of
// what each quantized format means. Requires 0 <= row < rows() and that `out`
// has cols() elements.
void DequantizeRow(const TensorView& tensor, int64_t row,
                   absl::Span<float> out);

}  // namespace headwise

#endif  // HEADWISE_MODEL_TENSOR_H_
