// Attention as textbooks write it: the whole score matrix in memory, one
// thread, plain loops. What experiments on long sequences start from.

#ifndef HEADWISE_BENCH_KERNELS_VANILLA_ATTENTION_H_
#define HEADWISE_BENCH_KERNELS_VANILLA_ATTENTION_H_

#include <cstdint>
#include <vector>

namespace headwise {

// One head; all fp32 [num_tokens][head_dim]. Causal: token i sees tokens up to
// i. `scores` is resized to [num_tokens][num_tokens] and holds the probs
// afterwards. `queries` are multiplied by softmax_scale.
struct VanillaArgs {
  const float* queries = nullptr;
  const float* keys = nullptr;
  const float* values = nullptr;
  float* out = nullptr;
  int64_t num_tokens = 0;
  int64_t head_dim = 0;
};

void VanillaAttention(const VanillaArgs& args, std::vector<float>* scores);

}  // namespace headwise

#endif  // HEADWISE_BENCH_KERNELS_VANILLA_ATTENTION_H_
