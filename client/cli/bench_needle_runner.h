// Runs the tests of one context through the engine.

#ifndef HEADWISE_CLIENT_CLI_BENCH_NEEDLE_RUNNER_H_
#define HEADWISE_CLIENT_CLI_BENCH_NEEDLE_RUNNER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/bench_needle_texts.h"
#include "model/head_plan/head_plan.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/kv_needs.h"

namespace headwise {

// Of the first test, which runs whole and alone.
struct NeedleTiming {
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;         // up to its first token
  std::vector<double> token_seconds;  // [kTimedTokens - 1]
  // What it held once `kv_length` positions were stored.
  int64_t kv_length = 0;
  std::vector<int64_t> kv_bytes_held;  // by rank
};

struct NeedleOutcome {
  // [tests]; empty, or no such entry: not run yet.
  std::vector<std::vector<int32_t>> generated;
  int64_t prompt_tokens_run = 0;  // in all
  NeedleTiming timing;

  bool Has(size_t test) const {
    return test < generated.size() && !generated[test].empty();
  }
};

struct NeedleRunOptions {
  std::shared_ptr<const HeadPlan> plan;  // null: every unit full
  // The text is run once, as a chain of prefixes, and each test goes on where
  // its needle stands; else every test runs its whole prompt.
  bool shares_text = true;
  int64_t parallel = 1;  // tests that hold KV at one time, >= 1
  NeedleOutcome done;    // of a run before, which this one completes
  // Prompt tokens that were run since the last call; of the engine's thread.
  std::function<void(int64_t)> on_rows = [](int64_t) {};
  // A test has ended, and what the run has by now; an error ends it.
  std::function<absl::Status(size_t test, const NeedleOutcome&)> on_test =
      [](size_t, const NeedleOutcome&) { return absl::OkStatus(); };
  // Bytes of KV that are held now, by rank.
  std::function<std::vector<int64_t>()> kv_bytes_held;
};

// Whether every test of the task may go on from the text before it: some plans
// drop or sum up at places that depend on the whole prompt.
bool MayShareText(const NeedleTask& task, const HeadPlan* plan, KvType kv_type);

// Prompt tokens that RunNeedleTask will run for the tests that are not done.
int64_t PlannedPromptTokens(const NeedleTask& task, bool shares_text,
                            const NeedleOutcome& done = {});

// The most KV that RunNeedleTask has promised at one time, in bytes.
int64_t PeakKvBytes(const NeedleTask& task, const NeedleRunOptions& options,
                    const KvNeeds& needs);

// Blocks; releases what it holds, also on an error. The engine's own errors.
absl::StatusOr<NeedleOutcome> RunNeedleTask(Engine& engine,
                                            const NeedleTask& task,
                                            const NeedleRunOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_NEEDLE_RUNNER_H_
