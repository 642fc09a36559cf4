// A Titans model's forward pass: the layers of docs/titans-models.md, with
// gradients through what the memory learns.
//
// Legend: B sequences, T tokens of each, D model_dim, H heads of d.

#ifndef HEADWISE_LAB_TITANS_TITANS_FORWARD_H_
#define HEADWISE_LAB_TITANS_TITANS_FORWARD_H_

#include <cstdint>
#include <vector>

#include "lab/titans/titans_weights.h"
#include "lab/titans/torch_memory.h"
#include "torch/torch.h"

namespace headwise {

// What one layer keeps of the tokens before; of parts that a variant lacks
// nothing is defined.
struct TitansLayerState {
  TorchMemoryState memory;      // of G = B * H memories
  torch::Tensor conv_tail;      // [B, conv_kernel - 1, 3 H d]
  torch::Tensor window_keys;    // [B, H, at most window - 1, d], rotated
  torch::Tensor window_values;  // the same
};

// A copy is a fork.
struct TitansState {
  std::vector<TitansLayerState> layers;
  int64_t num_tokens = 0;  // of each sequence
};

// Of each layer with a memory, [B, T, 3 H]: theta, eta and alpha of all heads.
struct TitansGates {
  std::vector<torch::Tensor> sigmoids;  // sigma(z)
  std::vector<torch::Tensor> values;    // stretched and clamped
};

// Of `num_sequences` sequences that have no token yet.
TitansState BeginTitans(const TitansWeights& weights, int64_t num_sequences);

// Appends tokens [B, T], int64, each below vocab_size, to `state` and returns
// the final norm's rows, [B, T, D]. Unless it is the last call for this state,
// T must be a multiple of the memory's chunk_len. detach_chunks as RunMemory's.
// Gates are added to `gates` unless it is null.
torch::Tensor RunTitans(const TitansWeights& weights,
                        const torch::Tensor& tokens, int64_t detach_chunks,
                        TitansState& state, TitansGates* gates);

// [..., vocab_size], of rows of RunTitans.
torch::Tensor TitansLogits(const TitansWeights& weights,
                           const torch::Tensor& rows);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_FORWARD_H_
