// How well a plain copy of what stands before predicts the tokens of a text.
//
// The heads that AttentionInfluence masks copy. So they predict repeats, and
// masking them costs a text that repeats itself most: licences, tables and word
// lists get high scores for what a look-up of n-grams does as well. This is
// that look-up. What it gives is told beside the score, and a job may leave out
// of its ranking what it predicts too well.

#ifndef HEADWISE_SERVER_SELECTION_COPY_MODEL_H_
#define HEADWISE_SERVER_SELECTION_COPY_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace headwise {

// Tokens before one that are looked up, at most.
inline constexpr int64_t kCopyOrder = 4;

// [tokens], each 0 or more and below 1. Of the last 4, 3, 2, 1 tokens before
// one, the longest run that stood before counts:
//
//   p = (times that this token followed it) / (times that any token did + 1)
//
// with 1 of the probability left for tokens that are new there, as in PPM
// (Cleary and Witten, 1984, method A), but without its shorter contexts. 0
// where no run stood before.
std::vector<double> CopyProbabilities(absl::Span<const int32_t> tokens);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_COPY_MODEL_H_
