#include "client/cli/bench_needle_runner.h"

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "model/head_plan/kv_retention.h"
#include "server/scheduler/fork_check.h"

namespace headwise {
namespace {

// Collects what the engine says of one request.
class NeedleSink final : public RequestSink {
 public:
  explicit NeedleSink(const NeedleRunOptions& options)
      : options_(options), start_(Clock::Monotonic().Now()) {}

  // The KV is read after that many tokens; 0: never.
  void ReadKvAfter(size_t num_tokens) { read_kv_after_ = num_tokens; }

  void OnPrefill(int64_t processed, int64_t) override {
    options_.on_rows(processed - processed_);
    processed_ = processed;
  }
  bool OnToken(const SliceResult& outcome) override {
    tokens_.push_back(outcome.token);
    times_.push_back(Clock::Monotonic().Now());
    if (tokens_.size() == read_kv_after_ && options_.kv_bytes_held) {
      kv_bytes_held_ = options_.kv_bytes_held();
    }
    return true;
  }
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    status_ = status;
    done_.Notify();
  }

  // All else may be asked for after it.
  absl::Status Wait() {
    done_.WaitForNotification();
    return status_;
  }
  const std::vector<int32_t>& tokens() const { return tokens_; }
  std::vector<int64_t> kv_bytes_held() const { return kv_bytes_held_; }
  // Before each token.
  std::vector<double> seconds() const {
    std::vector<double> seconds;
    absl::Time last = start_;
    for (const absl::Time time : times_) {
      seconds.push_back(absl::ToDoubleSeconds(time - last));
      last = time;
    }
    return seconds;
  }

 private:
  const NeedleRunOptions& options_;
  const absl::Time start_;
  size_t read_kv_after_ = 0;
  int64_t processed_ = 0;
  std::vector<int32_t> tokens_;
  std::vector<absl::Time> times_;
  std::vector<int64_t> kv_bytes_held_;
  absl::Status status_;
  absl::Notification done_;
};

std::vector<int32_t> Head(const NeedleTask& task, const NeedleTest& test) {
  const int64_t cut = task.cuts[static_cast<size_t>(test.depth_index)];
  return {task.text.begin(), task.text.begin() + cut};
}

class NeedleRun {
 public:
  NeedleRun(Engine& engine, const NeedleTask& task,
            const NeedleRunOptions& options)
      : engine_(engine),
        task_(task),
        options_(options),
        outcome_(options.done) {
    outcome_.generated.resize(task.tests.size());
    for (size_t i = 1; i < task.tests.size(); ++i) {
      if (!outcome_.Has(i)) left_.push_back(i);
    }
  }
  ~NeedleRun() {
    if (prefix_ != 0) engine_.Release(prefix_);
  }

  absl::StatusOr<NeedleOutcome> Run() {
    if (!outcome_.Has(0)) HEADWISE_RETURN_IF_ERROR(RunTimed());
    for (size_t begin = 0; begin < left_.size();) {
      const size_t end = EndOfBatch(begin);
      if (options_.shares_text) {
        HEADWISE_RETURN_IF_ERROR(ExtendPrefix(CutOf(TestLeft(begin))));
      }
      HEADWISE_RETURN_IF_ERROR(RunBatch(begin, end));
      begin = end;
    }
    return std::move(outcome_);
  }

 private:
  int64_t CutOf(const NeedleTest& test) const {
    return task_.cuts[static_cast<size_t>(test.depth_index)];
  }

  const NeedleTest& TestLeft(size_t index) const {
    return task_.tests[left_[index]];
  }

  // Tests of one depth share a prefix; so they do not run with others.
  size_t EndOfBatch(size_t begin) const {
    size_t end = begin;
    while (end < left_.size() &&
           static_cast<int64_t>(end - begin) < options_.parallel &&
           (!options_.shares_text ||
            TestLeft(end).depth_index == TestLeft(begin).depth_index)) {
      ++end;
    }
    return end;
  }

  absl::StatusOr<uint64_t> Submit(EngineRequest request,
                                  std::shared_ptr<NeedleSink> sink) {
    request.request_id = "bench-needle";
    request.plan = options_.plan;
    request.fork_from = prefix_;
    outcome_.prompt_tokens_run += static_cast<int64_t>(request.prompt.size());
    return engine_.Submit(std::move(request), std::move(sink));
  }

  // `new_tokens` after the whole prompt of a test, or after what follows the
  // prefix.
  EngineRequest RequestFor(const NeedleTest& test, int64_t new_tokens) const {
    EngineRequest request;
    if (prefix_ == 0) request.prompt = Head(task_, test);
    const std::vector<int32_t> rest = task_.Rest(test);
    request.prompt.insert(request.prompt.end(), rest.begin(), rest.end());
    request.max_new_tokens = new_tokens;
    return request;
  }

  absl::Status RunTimed();
  absl::Status ExtendPrefix(int64_t length);
  // Of left_[begin..end).
  absl::Status RunBatch(size_t begin, size_t end);

  Engine& engine_;
  const NeedleTask& task_;
  const NeedleRunOptions& options_;
  uint64_t prefix_ = 0;  // holds text[..prefix_len_); 0: none
  int64_t prefix_len_ = 0;
  NeedleOutcome outcome_;
  std::vector<size_t> left_;  // indices of tests to run, but the first
};

absl::Status NeedleRun::RunTimed() {
  const NeedleTest& test = task_.tests.front();
  NeedleTiming& timing = outcome_.timing;
  timing.prefill_tokens = task_.PromptLen(test);
  // One position more may be stored already, by the step after this token's: so
  // not where that begins, ends or drops a block.
  int64_t num_tokens = 2;
  while ((timing.prefill_tokens + num_tokens + 1) % kRetentionBlock < 3) {
    ++num_tokens;
  }
  timing.kv_length = timing.prefill_tokens + num_tokens - 1;
  const auto sink = std::make_shared<NeedleSink>(options_);
  sink->ReadKvAfter(static_cast<size_t>(num_tokens));
  HEADWISE_RETURN_IF_ERROR(
      Submit(RequestFor(test, kTimedTokens), sink).status());
  HEADWISE_RETURN_IF_ERROR(sink->Wait());
  timing.token_seconds = sink->seconds();
  timing.prefill_seconds = timing.token_seconds.front();
  timing.token_seconds.erase(timing.token_seconds.begin());
  timing.kv_bytes_held = sink->kv_bytes_held();
  outcome_.generated.front() = sink->tokens();
  outcome_.generated.front().resize(kAnswerTokens);
  return options_.on_test(0, outcome_);
}

absl::Status NeedleRun::ExtendPrefix(int64_t length) {
  if (length == prefix_len_) return absl::OkStatus();
  EngineRequest request;
  request.kind = WorkKind::kPrefix;
  request.prompt.assign(task_.text.begin() + prefix_len_,
                        task_.text.begin() + length);
  const auto sink = std::make_shared<NeedleSink>(options_);
  HEADWISE_ASSIGN_OR_RETURN(const uint64_t longer,
                            Submit(std::move(request), sink));
  const absl::Status status = sink->Wait();
  // It stays for as long as the longer one does, which began as its fork.
  if (prefix_ != 0) engine_.Release(prefix_);
  prefix_ = status.ok() ? longer : 0;
  prefix_len_ = length;
  return status;
}

absl::Status NeedleRun::RunBatch(size_t begin, size_t end) {
  absl::Status status;
  std::vector<uint64_t> ids;
  std::vector<std::shared_ptr<NeedleSink>> sinks;
  for (size_t i = begin; i < end && status.ok(); ++i) {
    auto sink = std::make_shared<NeedleSink>(options_);
    const absl::StatusOr<uint64_t> id =
        Submit(RequestFor(TestLeft(i), kAnswerTokens), sink);
    status = id.status();
    if (!id.ok()) break;
    ids.push_back(*id);
    sinks.push_back(std::move(sink));
  }
  if (!status.ok()) {
    for (const uint64_t id : ids) engine_.Cancel(id);
  }
  // All of them, as they speak to our options.
  for (size_t i = 0; i < sinks.size(); ++i) {
    const absl::Status ended = sinks[i]->Wait();
    status.Update(ended);
    if (!ended.ok()) continue;
    const size_t test = left_[begin + i];
    outcome_.generated[test] = sinks[i]->tokens();
    status.Update(options_.on_test(test, outcome_));
  }
  return status;
}

}  // namespace

bool MayShareText(const NeedleTask& task, const HeadPlan* plan,
                  KvType kv_type) {
  const auto may_fork = [&](int64_t length, int64_t prompt_len) {
    return length == 0 || CheckFork({.from = plan,
                                     .to = plan,
                                     .shared_len = length,
                                     .prompt_len = prompt_len,
                                     .kv_type = kv_type})
                              .ok();
  };
  int64_t before = 0;
  for (const int64_t cut : task.cuts) {
    if (!may_fork(before, cut)) return false;
    if (!may_fork(cut, task.MaxPromptLen())) return false;
    before = cut;
  }
  return true;
}

int64_t PlannedPromptTokens(const NeedleTask& task, bool shares_text,
                            const NeedleOutcome& done) {
  int64_t num_tokens = 0;
  int64_t prefix = 0;
  for (size_t i = 0; i < task.tests.size(); ++i) {
    if (done.Has(i)) continue;
    const NeedleTest& test = task.tests[i];
    num_tokens += task.PromptLen(test) - prefix;
    // The first test runs whole; the first of each depth after it also runs
    // what the prefix lacks.
    if (shares_text && i > 0) {
      prefix = task.cuts[static_cast<size_t>(test.depth_index)];
    }
  }
  return num_tokens;
}

int64_t PeakKvBytes(const NeedleTask& task, const NeedleRunOptions& options,
                    const KvNeeds& needs) {
  const auto sum = [](const std::vector<int64_t>& bytes) {
    int64_t total = 0;
    for (const int64_t of_rank : bytes) total += of_rank;
    return total;
  };
  const HeadPlan* plan = options.plan.get();
  const int64_t prompt_len = task.MaxPromptLen();
  const KvExtent whole = {prompt_len + kTimedTokens, prompt_len};
  const int64_t one = sum(needs.Reserved(plan, whole));
  if (!options.shares_text) return one * options.parallel;
  int64_t peak = one;
  int64_t chain = 0;
  int64_t before = 0;
  for (const int64_t cut : task.cuts) {
    if (cut > before) {
      const KvExtent prefix = {cut, cut};
      chain +=
          sum(before == 0 ? needs.Reserved(plan, prefix)
                          : needs.ReservedByFork(plan, plan, before, prefix));
      before = cut;
    }
    const int64_t fork =
        cut == 0 ? one : sum(needs.ReservedByFork(plan, plan, cut, whole));
    peak = std::max(peak, chain + fork * options.parallel);
  }
  return peak;
}

absl::StatusOr<NeedleOutcome> RunNeedleTask(Engine& engine,
                                            const NeedleTask& task,
                                            const NeedleRunOptions& options) {
  return NeedleRun(engine, task, options).Run();
}

}  // namespace headwise
