// Times generations, through the engine alone or through the services.

#ifndef HEADWISE_CLIENT_CLI_BENCH_RUNNER_H_
#define HEADWISE_CLIENT_CLI_BENCH_RUNNER_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cpp/client.h"
#include "server/scheduler/engine.h"

namespace headwise {

// Of one generation.
struct GenerationTimes {
  absl::Duration first_token;  // since it was submitted
  absl::Duration last_token;   // since the first token
  int64_t tokens_after_first = 0;
};

// Generates `num_tokens` >= 1 tokens after `prompt`, whatever they are.
using TimedGeneration = absl::FunctionRef<absl::StatusOr<GenerationTimes>(
    const std::vector<int32_t>& prompt, int64_t num_tokens)>;

absl::StatusOr<GenerationTimes> TimeEngine(Engine& engine,
                                           const std::vector<int32_t>& prompt,
                                           int64_t num_tokens);
absl::StatusOr<GenerationTimes> TimeClient(Client& client,
                                           const std::vector<int32_t>& prompt,
                                           int64_t num_tokens);

// `length` ids in [0, vocab_size) from a fixed seed; other lengths have other
// beginnings, so that no cache of prefixes could help.
std::vector<int32_t> BenchPrompt(int64_t length, int64_t vocab_size);

// The middle value; of an even number the mean of the two. Requires one or
// more.
double Median(std::vector<double> values);

// Median tokens/s over `repeat` runs, after one run that is not counted.
absl::StatusOr<double> PrefillRate(int64_t prompt_len, int repeat,
                                   int64_t vocab_size, TimedGeneration time);
// Of `num_tokens` new tokens that follow `depth` (at least 1) tokens.
absl::StatusOr<double> DecodeRate(int64_t depth, int64_t num_tokens, int repeat,
                                  int64_t vocab_size, TimedGeneration time);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_RUNNER_H_
