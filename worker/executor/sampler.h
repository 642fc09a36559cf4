// Draws a token from logits.

#ifndef HEADWISE_WORKER_EXECUTOR_SAMPLER_H_
#define HEADWISE_WORKER_EXECUTOR_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/executor/token_history.h"
#include "worker/step/step.h"

namespace headwise {

struct SampledToken {
  int32_t token = 0;
  float logprob = 0.0f;          // of the unmodified logits, natural log
  std::vector<RankedToken> top;  // of the unmodified logits, best first
};

// max and sum of exp of a whole row, from those of its vocabulary tiles in
// order: the one definition that scoring and sampling share. Returns log(sum
// exp(logit)).
float LogSumExpOfTiles(const Kernels& kernels,
                       absl::Span<const SoftmaxStats> tiles);

// Tiles of kVocabTileWidth logits.
float LogSumExpOf(const Kernels& kernels, absl::Span<const float> logits);

// Draws the token of `position`. `history` holds the tokens of the sequence so
// far, for the repetition penalty. A pure function of its arguments; ties go to
// the lower token.
//
// Deviation from some engines: top_p is taken of what top_k left, and min_p of
// the best probability; the draw walks tokens from the best down.
SampledToken Sample(const Kernels& kernels, absl::Span<const float> logits,
                    const TokenHistory& history, const SamplingOptions& options,
                    int64_t position);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_SAMPLER_H_
