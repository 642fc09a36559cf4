#include "lab/duo_gates/gate_samples.h"

#include "base/status_macros.h"

namespace headwise {

absl::StatusOr<GateSample> MakeGateSample(const Haystack& haystack,
                                          const GateOptions& options,
                                          int64_t step) {
  constexpr int64_t kNumLengths = 50;
  Draws draws(options.seed, static_cast<uint64_t>(step));
  const int64_t range = options.length - options.shortest();
  const int64_t length =
      options.shortest() + range * draws.Below(kNumLengths) / (kNumLengths - 1);
  const NeedlePrompt prompt = MakePassKeysPrompt(
      haystack, length, options.num_needles, options.num_words, draws);
  HEADWISE_RETURN_IF_ERROR(CheckRoom(prompt, length));
  GateSample sample;
  sample.tokens = prompt.prefix;
  sample.first_labelled = static_cast<int64_t>(prompt.prefix.size());
  for (const int32_t token : prompt.Tail()) sample.tokens.push_back(token);
  return sample;
}

}  // namespace headwise
