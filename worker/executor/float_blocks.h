// Keys and values that lie beside the cache, as kernels read a cache.

#ifndef HEADWISE_WORKER_EXECUTOR_FLOAT_BLOCKS_H_
#define HEADWISE_WORKER_EXECUTOR_FLOAT_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "worker/backends/cpu/kernels.h"

namespace headwise {

// `num_rows` rows of keys and values in fp32 blocks (KvLayout), all zeros at
// first. A value.
class FloatBlocks {
 public:
  FloatBlocks() = default;
  FloatBlocks(int64_t num_rows, int64_t head_dim)
      : num_rows_(num_rows),
        layout_{KvElement::kFp32, head_dim},
        values_(static_cast<size_t>(num_blocks() * block_floats())) {}

  int64_t num_rows() const { return num_rows_; }
  const KvLayout& layout() const { return layout_; }
  int64_t num_blocks() const {
    return (num_rows_ + KvLayout::kPositions - 1) / KvLayout::kPositions;
  }
  const uint8_t* Block(int64_t index) const {
    return reinterpret_cast<const uint8_t*>(values_.data() +
                                            index * block_floats());
  }
  // key, value [head_dim].
  void Put(int64_t row, const float* key, const float* value) {
    float* block = values_.data() + row / KvLayout::kPositions * block_floats();
    const int64_t slot = row % KvLayout::kPositions;
    const int64_t dim = layout_.head_dim;
    for (int64_t d = 0; d < dim; ++d) {
      block[d * KvLayout::kPositions + slot] = key[d];
      block[(KvLayout::kPositions + slot) * dim + d] = value[d];
    }
  }
  // [num_blocks][2 * 64 * head_dim]; for files.
  std::vector<float>& values() { return values_; }
  const std::vector<float>& values() const { return values_; }

 private:
  int64_t block_floats() const {
    return 2 * KvLayout::kPositions * layout_.head_dim;
  }

  int64_t num_rows_ = 0;
  KvLayout layout_;
  std::vector<float> values_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_FLOAT_BLOCKS_H_
