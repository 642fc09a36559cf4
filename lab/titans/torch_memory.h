// A neural memory in LibTorch, to be differentiated through.
//
// Source: Behrouz, Zhong and Mirrokni, "Titans", arXiv 2501.00663, equations
// 12 to 15. The inner loop's gradients are written out in closed form, of
// ordinary differentiable products, so that autograd gives the outer loop's
// gradient with all second-order terms. What differs from the paper: the two
// scans over weights are two scans over scalars, and a token inside a chunk
// reads by two masked products (the sums, reordered).
//
// Legend: G memories (sequences x heads), b tokens of a chunk, d head_dim.

#ifndef HEADWISE_LAB_TITANS_TORCH_MEMORY_H_
#define HEADWISE_LAB_TITANS_TORCH_MEMORY_H_

#include <cstdint>
#include <vector>

#include "model/memory_spec.h"
#include "torch/torch.h"

namespace headwise {

// All of G memories' weights, or their momentum: the spec's matrices, each
// [G, in, out], then gamma [G, 1, d] if there is a norm.
using MemoryParts = std::vector<torch::Tensor>;

// Tensors are replaced, never written to: a copy is a fork.
struct TorchMemoryState {
  MemoryParts weights;
  MemoryParts momentum;
};

// `initial` [G, num_weights] as MemorySpec orders them; momentum is 0.
TorchMemoryState InitialMemory(const MemorySpec& spec,
                               const torch::Tensor& initial);

// The same state, with no gradient into what came before.
TorchMemoryState Detached(const TorchMemoryState& state);

// What gates do inside chunks of b tokens, for any leading dimensions.
struct ChunkFactors {
  torch::Tensor keep;   // beta_t = prod_(j<=t) (1 - alpha_j)     [..., b]
  torch::Tensor carry;  // weight of S_0 in M_t                   [..., b]
  torch::Tensor fade;   // prod_(j<=t) eta_j, of S_0 in S_t       [..., b]
  // Lower triangles, the diagonal included: weight of -grad_i, theta_i
  // included, in M_t and in S_t.
  torch::Tensor to_weights;   // [..., b, b], t then i
  torch::Tensor to_momentum;  // [..., b, b]

  // Of one chunk, where the dimension before the chunk's counts chunks.
  ChunkFactors Chunk(int64_t index) const;
};

// theta, eta, alpha [..., b].
ChunkFactors ComputeChunkFactors(const torch::Tensor& theta,
                                 const torch::Tensor& eta,
                                 const torch::Tensor& alpha);

// The gradients of a chunk's tokens at the weights it began with, not yet
// multiplied out: that of matrix l for token i is inputs[l]_i^T deltas[l]_i.
struct ChunkGradients {
  std::vector<torch::Tensor> inputs;  // [G, b, in] of each matrix
  std::vector<torch::Tensor> deltas;  // [G, b, out]
  torch::Tensor gamma;  // [G, b, d]: gradients of gamma; undefined: no norm
};

// keys, values [G, b, d].
ChunkGradients MemoryGradients(const MemorySpec& spec,
                               const MemoryParts& weights,
                               const torch::Tensor& keys,
                               const torch::Tensor& values);

// M(q) of each query [G, n, d], [G, n, d].
torch::Tensor ReadMemory(const MemorySpec& spec, const MemoryParts& weights,
                         const torch::Tensor& queries);

// What query t [G, b, d] reads once tokens up to t are written: M_t(q_t).
torch::Tensor ReadInsideChunk(const MemorySpec& spec,
                              const TorchMemoryState& state,
                              const ChunkGradients& gradients,
                              const ChunkFactors& factors,
                              const torch::Tensor& queries);

// The state after the chunk.
TorchMemoryState AfterChunk(const TorchMemoryState& state,
                            const ChunkGradients& gradients,
                            const ChunkFactors& factors);

// Of a run of tokens; T of them.
struct MemoryTokens {
  torch::Tensor keys, values, queries;  // [G, T, d]
  torch::Tensor theta, eta, alpha;      // [G, T]
};

// Writes each token and reads with it, chunk by chunk from a chunk's begin;
// moves `state` on and returns what was read, [G, T, d]. The last chunk may be
// short; then no token may follow, as the next one would be of the same chunk.
// detach_chunks: gradients into the state end after that many; 0: never.
torch::Tensor RunMemory(const MemorySpec& spec, const MemoryTokens& tokens,
                        int64_t detach_chunks, TorchMemoryState& state);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TORCH_MEMORY_H_
