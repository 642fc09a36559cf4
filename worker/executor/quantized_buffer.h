// Rows of int8 activations and room for them.

#ifndef HEADWISE_WORKER_EXECUTOR_QUANTIZED_BUFFER_H_
#define HEADWISE_WORKER_EXECUTOR_QUANTIZED_BUFFER_H_

#include <cstdint>

#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

class QuantizedBuffer {
 public:
  // Room for `num_rows` rows of n elements, a multiple of 32.
  void Reserve(int64_t num_rows, int64_t n) {
    n_ = n;
    q_.Reserve(num_rows * n);
    scale_.Reserve(num_rows * n / 32);
    scaled_sum_.Reserve(num_rows * n / 32);
    half_offset_.Reserve(num_rows * n / 16);
  }

  // Where elements [first, ...) of a row go; `first` is a multiple of 32.
  QuantizedRow Row(int64_t row, int64_t first = 0) {
    const int64_t at = row * n_ + first;
    return {q_.data() + at, scale_.data() + at / 32,
            scaled_sum_.data() + at / 32, half_offset_.data() + at / 16};
  }
  QuantizedRows View() const {
    return {q_.data(), scale_.data(), scaled_sum_.data(), half_offset_.data(),
            n_};
  }

 private:
  int64_t n_ = 0;
  AlignedBuffer<int8_t> q_;
  AlignedBuffer<float> scale_;
  AlignedBuffer<float> scaled_sum_;
  AlignedBuffer<int32_t> half_offset_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_QUANTIZED_BUFFER_H_
