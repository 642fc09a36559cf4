// A part of a weight matrix, laid out for the matrix product.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_PACKED_MATRIX_H_
#define HEADWISE_WORKER_BACKENDS_CPU_PACKED_MATRIX_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/tensor.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

// Half-open ranges of a tensor's rows (outputs) and columns (inputs).
struct MatrixPart {
  int64_t first_row = 0;
  int64_t last_row = 0;
  int64_t first_col = 0;
  int64_t last_col = 0;
};

// Which packed format holds a dtype's weights without loss.
PackedFormat PackedFormatOf(DType dtype);

// A view of packed weights, immutable. Rows are padded with zeros to a multiple
// of 16.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  // Bytes that the packed part takes, a multiple of 64.
  static int64_t BytesOf(DType dtype, const MatrixPart& part);

  // Copies the part into packed form at `memory`: BytesOf zero bytes, aligned
  // to 64, which must outlive the matrix. The tensor is not needed afterwards.
  // A quantized part must begin and end on multiples of 32 columns:
  // Unimplemented, with the tensor's name, if it does not.
  static absl::StatusOr<PackedMatrix> Pack(const TensorView& tensor,
                                           const MatrixPart& part,
                                           uint8_t* memory);

  PackedFormat format() const { return format_; }
  bool is_quantized() const { return IsQuantized(format_); }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t num_groups() const { return (rows_ + 15) / 16; }
  int64_t bytes() const { return num_groups() * group_bytes_; }

  // The same matrix where its bytes() have been copied to; `data` need not be
  // memory of this process.
  PackedMatrix At(const uint8_t* data) const {
    PackedMatrix copy = *this;
    copy.data_ = data;
    return copy;
  }
  const uint8_t* data() const { return data_; }

  // Fills the fields of `args` that describe the weights.
  void Describe(MatMulArgs* args) const;

 private:
  PackedFormat format_ = PackedFormat::kFp32;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  int64_t group_bytes_ = 0;
  const uint8_t* data_ = nullptr;  // [num_groups][group_bytes]
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_PACKED_MATRIX_H_
