#include "model/tensor.h"

#include <array>

namespace headwise {

namespace {

// In the enumerators' order. A block of the K formats is 256 elements.
constexpr std::array<DTypeInfo, 11> kInfos = {{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"Q8_0", 32, 2 + 32},
    {"Q4_0", 32, 2 + 16},
    {"Q4_1", 32, 2 + 2 + 16},
    {"Q5_0", 32, 2 + 4 + 16},
    {"Q5_1", 32, 2 + 2 + 4 + 16},
    {"Q4_K", 256, 2 + 2 + 12 + 128},
    {"Q5_K", 256, 2 + 2 + 12 + 32 + 128},
    {"Q6_K", 256, 128 + 64 + 16 + 2},
}};
static_assert(kInfos.size() == static_cast<size_t>(DType::kQ6_K) + 1);

}  // namespace

const DTypeInfo& InfoOf(DType dtype) {
  return kInfos[static_cast<size_t>(dtype)];
}

int64_t TensorView::rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

int64_t TensorView::row_bytes() const {
  const DTypeInfo& info = InfoOf(dtype);
  return cols() / info.block_len * info.block_bytes;
}

}  // namespace headwise
