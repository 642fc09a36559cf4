// Prompts that ask for one value of a JSON object, after examples.
//
// Source: the proxy task of "AttentionInfluence: Adopting Attention Head
// Influence for Weak-to-Strong Pretraining Data Selection", 2025: an object of
// random keys and sentences, three examples, one key that is asked for. What is
// known of the sizes is second-hand (keys of 32 letters and digits, sentences
// of web pages, 4,096 tokens at most); ours are those of the caller.
//
//   {"k1": " v1",
//   "k2": " v2", ...}
//
//   Key: k5
//   Value: v5              three of these, then one without its value

#ifndef HEADWISE_SERVER_CALIBRATION_KEY_VALUE_PROMPT_H_
#define HEADWISE_SERVER_CALIBRATION_KEY_VALUE_PROMPT_H_

#include <cstdint>

#include "server/calibration/draws.h"
#include "server/calibration/needle_prompt.h"

namespace headwise {

inline constexpr int64_t kKeyValueExamples = 3;

// `length`: tokens of the whole prompt, which is shorter by less than a pair,
// and longer only if kKeyValueExamples + 1 pairs are: CheckRoom. `depth`, 0 to
// 1: where among the pairs the one stands that is asked for; examples are other
// pairs, drawn. The values are sentences of the haystack.
NeedlePrompt MakeKeyValuePrompt(const Haystack& haystack, int64_t length,
                                double depth, Draws& draws);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_KEY_VALUE_PROMPT_H_
