// Rotary position embedding of one head.

#ifndef HEADWISE_WORKER_EXECUTOR_ROTATION_H_
#define HEADWISE_WORKER_EXECUTOR_ROTATION_H_

#include <cstdint>

#include "model/hyperparameters.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

// cos and sin of the pairs of one position, [rotary_dim / 2] each.
struct RotationAngles {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

// Rotates the first rotary_dim channels of `head` in place.
inline void RotateHead(const Rope& rope, const RotationAngles& angles,
                       float* head) {
  const int64_t pairs = rope.rotary_dim / 2;
  const bool interleaved = rope.layout == RopeLayout::kInterleaved;
  const int64_t step = interleaved ? 2 : 1;
  const int64_t other = interleaved ? 1 : pairs;
  for (int64_t i = 0; i < pairs; ++i) {
    float& x = head[step * i];
    float& y = head[step * i + other];
    const float rotated_x = x * angles.cosines[i] - y * angles.sines[i];
    const float rotated_y = x * angles.sines[i] + y * angles.cosines[i];
    x = rotated_x;
    y = rotated_y;
  }
}

// Angles of the positions [0, size), for policies that renumber positions.
class RotationTable {
 public:
  RotationTable(const Rope& rope, const Kernels& kernels)
      : kernels_(kernels),
        frequencies_(ComputeRopeFrequencies(rope)),
        pairs_(rope.rotary_dim / 2) {}

  // At least `size` positions. Not while others read.
  void Reserve(int64_t size) {
    if (size <= size_) return;
    cosines_.Reserve(size * pairs_);
    sines_.Reserve(size * pairs_);
    for (int64_t p = 0; p < size; ++p) {
      kernels_.rope_angles(static_cast<double>(p),
                           frequencies_.inverse_frequencies.data(), pairs_,
                           frequencies_.magnitude, cosines_.data() + p * pairs_,
                           sines_.data() + p * pairs_);
    }
    size_ = size;
  }
  // Requires 0 <= position < size.
  RotationAngles At(int64_t position) const {
    return {cosines_.data() + position * pairs_,
            sines_.data() + position * pairs_};
  }

 private:
  const Kernels& kernels_;
  const RopeFrequencies frequencies_;
  const int64_t pairs_;
  int64_t size_ = 0;
  AlignedBuffer<float> cosines_;
  AlignedBuffer<float> sines_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_ROTATION_H_
