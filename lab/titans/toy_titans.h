// Tiny Titans models, for tests.

#ifndef HEADWISE_LAB_TITANS_TOY_TITANS_H_
#define HEADWISE_LAB_TITANS_TOY_TITANS_H_

#include <vector>

#include "lab/titans/titans_shape.h"
#include "lab/titans/titans_task.h"
#include "torch/torch.h"

namespace headwise {

inline std::vector<TitansVariant> AllTitansVariants() {
  return {TitansVariant::kMac, TitansVariant::kMag, TitansVariant::kMal,
          TitansVariant::kLmm, TitansVariant::kSwa};
}

// Chunks, and windows, of 4 tokens; two layers.
inline Hyperparameters ToyTitans(TitansVariant variant) {
  Hyperparameters hyper = SmallestTitans();
  hyper.num_layers = 2;
  hyper.head_dim = 16;
  hyper.rope.rotary_dim = 16;
  hyper.model_dim = 16;
  hyper.ffn_dim = 16;
  hyper.titans->variant = variant;
  hyper.titans->window = 4;
  hyper.titans->num_persistent = 2;
  hyper.titans->conv_kernel = variant == TitansVariant::kMac ? 1 : 3;
  hyper.titans->memory = {.head_dim = 16,
                          .num_layers = 2,
                          .hidden_dim = 16,
                          .residual = true,
                          .chunk_len = 4};
  return hyper;
}

// [sequences, length] of any ids.
inline torch::Tensor ToyTokens(int64_t num_sequences, int64_t length) {
  return torch::randint(kTitansVocab, {num_sequences, length}, torch::kInt64);
}

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TOY_TITANS_H_
