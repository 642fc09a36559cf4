// Blocks of 32 weights of any quantized dtype, in one common form.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_WEIGHT_BLOCKS_H_
#define HEADWISE_WORKER_BACKENDS_CPU_WEIGHT_BLOCKS_H_

#include <cstdint>

#include "model/tensor.h"

namespace headwise {

// Weight k is scale[k / 16] * q[k] + minimum. Both scales are equal except for
// Q6_K. q is in [0, 15] for the 4-bit dtypes, else in [-128, 127].
struct WeightBlock32 {
  int8_t q[32];
  float scale[2];
  float minimum;  // 0 where the dtype has none
};

// Block `block` (elements [32 block, 32 block + 32)) of a row that begins at
// `row`. Requires a quantized dtype.
void ReadWeightBlock(DType dtype, const uint8_t* row, int64_t block,
                     WeightBlock32* out);

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_WEIGHT_BLOCKS_H_
