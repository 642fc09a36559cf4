#include "client/cli/bench_needle_state.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr size_t kMaxRanks = 1024;
// Of the timed test's values, before the ranks' bytes and the tokens' seconds.
constexpr size_t kTimingHead = 4;

std::string RunName(int64_t context_len, bool is_baseline) {
  return absl::StrCat(context_len, is_baseline ? "/full/" : "/plan/");
}

// prefill_tokens, prefill_seconds, kv_length, number of ranks, their bytes,
// token_seconds.
std::vector<double> TimingValues(const NeedleTiming& timing) {
  std::vector<double> values = {
      static_cast<double>(timing.prefill_tokens), timing.prefill_seconds,
      static_cast<double>(timing.kv_length),
      static_cast<double>(timing.kv_bytes_held.size())};
  values.insert(values.end(), timing.kv_bytes_held.begin(),
                timing.kv_bytes_held.end());
  values.insert(values.end(), timing.token_seconds.begin(),
                timing.token_seconds.end());
  return values;
}

absl::Status ReadTiming(const v1::FinishedTest& test, NeedleTiming* timing) {
  const auto& values = test.values();
  const auto size = static_cast<size_t>(values.size());
  const double num_ranks = size < kTimingHead ? -1 : values[kTimingHead - 1];
  if (!(num_ranks >= 0) || num_ranks > kMaxRanks ||
      size != kTimingHead + static_cast<size_t>(num_ranks) + kTimedTokens - 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("state: test ", test.id(), ": ", size,
                     " values are not those of a test that was timed"));
  }
  timing->prefill_tokens = std::llround(values[0]);
  timing->prefill_seconds = values[1];
  timing->kv_length = std::llround(values[2]);
  const auto seconds =
      values.begin() + kTimingHead + static_cast<int64_t>(num_ranks);
  for (auto value = values.begin() + kTimingHead; value != seconds; ++value) {
    timing->kv_bytes_held.push_back(std::llround(*value));
  }
  timing->token_seconds.assign(seconds, values.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NeedleState> NeedleState::Open(const std::string& path,
                                              const std::string& manifest) {
  HEADWISE_ASSIGN_OR_RETURN(FinishedTestsFile file,
                            FinishedTestsFile::Open(path));
  const std::string& before = file.finished().manifest();
  if (!before.empty() && before != manifest) {
    return absl::InvalidArgumentError(
        absl::StrCat("state: ", path, " is of another bench: ", before,
                     "; this one is ", manifest));
  }
  HEADWISE_RETURN_IF_ERROR(file.Begin(manifest));
  return NeedleState(std::move(file));
}

absl::StatusOr<NeedleOutcome> NeedleState::Known(int64_t context_len,
                                                 bool is_baseline,
                                                 const NeedleTask& task) const {
  NeedleOutcome outcome;
  outcome.generated.resize(task.tests.size());
  for (const v1::FinishedTest& test : file_.finished().tests()) {
    absl::string_view id = test.id();
    if (!absl::ConsumePrefix(&id, RunName(context_len, is_baseline))) continue;
    if (id == "times") {
      HEADWISE_RETURN_IF_ERROR(ReadTiming(test, &outcome.timing));
      continue;
    }
    size_t index = 0;
    if (!absl::SimpleAtoi(id, &index) || index >= task.tests.size() ||
        test.values().empty() || test.values_size() > kAnswerTokens) {
      return absl::InvalidArgumentError(
          absl::StrCat("state: test ", test.id(), " with ", test.values_size(),
                       " tokens is none of this bench's ", task.tests.size()));
    }
    for (const double token : test.values()) {
      outcome.generated[index].push_back(static_cast<int32_t>(token));
    }
    outcome.prompt_tokens_run =
        std::max(outcome.prompt_tokens_run, test.rows());
  }
  // Without its times the first test has to run again.
  if (outcome.timing.prefill_tokens == 0) outcome.generated.front().clear();
  return outcome;
}

absl::Status NeedleState::Add(int64_t context_len, bool is_baseline,
                              size_t test, const NeedleOutcome& outcome) {
  const std::string run = RunName(context_len, is_baseline);
  v1::FinishedTest line;
  if (test == 0) {
    line.set_id(run + "times");
    for (const double value : TimingValues(outcome.timing)) {
      line.add_values(value);
    }
    HEADWISE_RETURN_IF_ERROR(file_.Add(line));
    line.Clear();
  }
  line.set_id(absl::StrCat(run, test));
  line.set_rows(outcome.prompt_tokens_run);
  for (const int32_t token : outcome.generated[test]) line.add_values(token);
  return file_.Add(line);
}

}  // namespace headwise
