#include "worker/backends/cpu/packed_matrix.h"

#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/files/half_floats.h"
#include "worker/backends/cpu/packed_layout.h"
#include "worker/backends/cpu/weight_blocks.h"

namespace headwise {
namespace {

void WriteScale(PackedFormat format, float value, uint8_t* base,
                int64_t index) {
  if (HasHalfScales(format)) {
    const uint16_t half = FloatToFp16(value);
    std::memcpy(base + 2 * index, &half, sizeof(half));
  } else {
    std::memcpy(base + 4 * index, &value, sizeof(value));
  }
}

// One block of one row into its group.
void WriteBlock(PackedFormat format, const WeightBlock32& block,
                int64_t num_blocks, int64_t b, int lane, uint8_t* group) {
  uint8_t* quants = group + b * BlockBytes(format) + 4 * lane;
  uint32_t quads[8];
  std::memcpy(quads, block.q, sizeof(quads));
  if (IsInt4(format)) {
    for (int t = 0; t < 4; ++t) {
      const uint32_t pair = quads[2 * t] | quads[2 * t + 1] << 4;
      std::memcpy(quants + 64 * t, &pair, sizeof(pair));
    }
  } else {
    for (int t = 0; t < 8; ++t) {
      const uint32_t quad = quads[t] ^ 0x80808080u;  // q + 128
      std::memcpy(quants + 64 * t, &quad, sizeof(quad));
    }
  }
  uint8_t* scales = group + ScalesOffset(format, num_blocks);
  if (format == PackedFormat::kInt8Short) {
    WriteScale(format, block.scale[0], scales, 32 * b + lane);
    WriteScale(format, block.scale[1], scales, 32 * b + 16 + lane);
    return;
  }
  WriteScale(format, block.scale[0], scales, 16 * b + lane);
  if (HasMinimums(format)) {
    WriteScale(format, block.minimum,
               group + MinimumsOffset(format, num_blocks), 16 * b + lane);
  }
}

void PackQuantizedRow(const TensorView& tensor, const MatrixPart& part,
                      PackedFormat format, int64_t row, uint8_t* group) {
  const uint8_t* source = tensor.bytes.data() + row * tensor.row_bytes();
  const int64_t num_blocks = (part.last_col - part.first_col) / 32;
  const int lane = static_cast<int>((row - part.first_row) % 16);
  WeightBlock32 block;
  for (int64_t b = 0; b < num_blocks; ++b) {
    ReadWeightBlock(tensor.dtype, source, part.first_col / 32 + b, &block);
    WriteBlock(format, block, num_blocks, b, lane, group);
  }
}

void PackFloatRow(const TensorView& tensor, const MatrixPart& part, int64_t row,
                  uint8_t* group) {
  const int64_t width = InfoOf(tensor.dtype).block_bytes;
  const uint8_t* source =
      tensor.bytes.data() + row * tensor.row_bytes() + part.first_col * width;
  const int64_t lane = (row - part.first_row) % 16;
  for (int64_t k = 0; k < part.last_col - part.first_col; ++k) {
    std::memcpy(group + (16 * k + lane) * width, source + k * width,
                static_cast<size_t>(width));
  }
}

}  // namespace

PackedFormat PackedFormatOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return PackedFormat::kFp32;
    case DType::kF16:
      return PackedFormat::kFp16;
    case DType::kBF16:
      return PackedFormat::kBf16;
    case DType::kQ4_0:
    case DType::kQ4_1:
      return PackedFormat::kInt4Half;
    case DType::kQ4_K:
      return PackedFormat::kInt4Float;
    case DType::kQ8_0:
    case DType::kQ5_0:
      return PackedFormat::kInt8Half;
    case DType::kQ5_1:
    case DType::kQ5_K:
      return PackedFormat::kInt8Float;
    case DType::kQ6_K:
      return PackedFormat::kInt8Short;
  }
  HEADWISE_CHECK(false);
}

int64_t PackedMatrix::BytesOf(DType dtype, const MatrixPart& part) {
  const int64_t groups = (part.last_row - part.first_row + 15) / 16;
  return groups *
         GroupBytes(PackedFormatOf(dtype), part.last_col - part.first_col);
}

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(const TensorView& tensor,
                                                const MatrixPart& part,
                                                uint8_t* memory) {
  HEADWISE_CHECK(0 <= part.first_row && part.first_row <= part.last_row &&
                 part.last_row <= tensor.rows());
  HEADWISE_CHECK(0 <= part.first_col && part.first_col <= part.last_col &&
                 part.last_col <= tensor.cols());
  PackedMatrix packed;
  packed.format_ = PackedFormatOf(tensor.dtype);
  packed.rows_ = part.last_row - part.first_row;
  packed.cols_ = part.last_col - part.first_col;
  if (packed.is_quantized() &&
      (part.first_col % 32 != 0 || packed.cols_ % 32 != 0)) {
    return absl::UnimplementedError(
        absl::StrCat("tensor ", tensor.name, " (", InfoOf(tensor.dtype).name,
                     "): columns [", part.first_col, ", ", part.last_col,
                     ") do not begin and end on multiples of 32"));
  }
  packed.group_bytes_ = GroupBytes(packed.format_, packed.cols_);
  packed.data_ = memory;
  for (int64_t row = part.first_row; row < part.last_row; ++row) {
    uint8_t* group = memory + (row - part.first_row) / 16 * packed.group_bytes_;
    if (packed.is_quantized()) {
      PackQuantizedRow(tensor, part, packed.format_, row, group);
    } else {
      PackFloatRow(tensor, part, row, group);
    }
  }
  return packed;
}

void PackedMatrix::Describe(MatMulArgs* args) const {
  args->format = format_;
  args->weights = data_;
  args->group_bytes = group_bytes_;
  args->cols = cols_;
}

}  // namespace headwise
