#include "client/cli/bench_runner.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// Takes the times of the first and the last token.
class TokenTimer {
 public:
  explicit TokenTimer(absl::Time start) : start_(start) {}

  void OnTokens(int64_t count) {
    if (count == 0) return;
    last_ = Clock::Monotonic().Now();
    if (num_tokens_ == 0) first_ = last_;
    num_tokens_ += count;
  }

  absl::StatusOr<GenerationTimes> times() const {
    if (num_tokens_ == 0) return absl::InternalError("no token was generated");
    return GenerationTimes{first_ - start_, last_ - first_, num_tokens_ - 1};
  }

 private:
  const absl::Time start_;
  absl::Time first_;
  absl::Time last_;
  int64_t num_tokens_ = 0;
};

class TimingSink final : public RequestSink {
 public:
  TimingSink() : timer_(Clock::Monotonic().Now()) {}

  bool OnToken(const SliceResult&) override {
    absl::MutexLock lock(&mutex_);
    timer_.OnTokens(1);
    return true;
  }

  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    finished_ = true;
  }

  absl::StatusOr<GenerationTimes> Wait() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&finished_));
    HEADWISE_RETURN_IF_ERROR(status_);
    return timer_.times();
  }

 private:
  absl::Mutex mutex_;
  TokenTimer timer_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<GenerationTimes> TimeEngine(Engine& engine,
                                           const std::vector<int32_t>& prompt,
                                           int64_t num_tokens) {
  EngineRequest request;
  request.request_id = "bench";
  request.kind = WorkKind::kGenerate;
  request.prompt = prompt;
  request.max_new_tokens = num_tokens;
  const auto sink = std::make_shared<TimingSink>();
  HEADWISE_RETURN_IF_ERROR(engine.Submit(std::move(request), sink).status());
  return sink->Wait();
}

absl::StatusOr<GenerationTimes> TimeClient(Client& client,
                                           const std::vector<int32_t>& prompt,
                                           int64_t num_tokens) {
  v1::GenerateRequest request;
  request.mutable_tokens()->mutable_ids()->Assign(prompt.begin(), prompt.end());
  request.mutable_options()->set_max_tokens(static_cast<int32_t>(num_tokens));
  request.mutable_options()->set_ignore_eos(true);
  TokenTimer timer(Clock::Monotonic().Now());
  HEADWISE_RETURN_IF_ERROR(
      client.Generate(request, [&](const v1::GenerateResponse& event) {
        timer.OnTokens(event.generated().tokens_size());
        return true;
      }));
  return timer.times();
}

std::vector<int32_t> BenchPrompt(int64_t length, int64_t vocab_size) {
  HEADWISE_CHECK(length > 0 && vocab_size > 0);
  std::vector<int32_t> ids(static_cast<size_t>(length));
  // Knuth's MMIX generator; the upper bits are the good ones.
  uint64_t state = 20240611 + static_cast<uint64_t>(length);
  for (int32_t& id : ids) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    id =
        static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab_size));
  }
  return ids;
}

double Median(std::vector<double> values) {
  HEADWISE_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half]
                                : (values[half - 1] + values[half]) / 2;
}

absl::StatusOr<double> PrefillRate(int64_t prompt_len, int repeat,
                                   int64_t vocab_size, TimedGeneration time) {
  const std::vector<int32_t> prompt = BenchPrompt(prompt_len, vocab_size);
  std::vector<double> rates;
  for (int i = 0; i <= repeat; ++i) {
    HEADWISE_ASSIGN_OR_RETURN(const GenerationTimes times, time(prompt, 1));
    if (i == 0) continue;
    rates.push_back(static_cast<double>(prompt_len) /
                    absl::ToDoubleSeconds(times.first_token));
  }
  return Median(std::move(rates));
}

absl::StatusOr<double> DecodeRate(int64_t depth, int64_t num_tokens, int repeat,
                                  int64_t vocab_size, TimedGeneration time) {
  const std::vector<int32_t> prompt =
      BenchPrompt(std::max<int64_t>(1, depth), vocab_size);
  std::vector<double> rates;
  for (int i = 0; i <= repeat; ++i) {
    // The first token belongs to the prefill.
    HEADWISE_ASSIGN_OR_RETURN(const GenerationTimes times,
                              time(prompt, num_tokens + 1));
    if (i == 0) continue;
    rates.push_back(static_cast<double>(times.tokens_after_first) /
                    absl::ToDoubleSeconds(times.last_token));
  }
  return Median(std::move(rates));
}

}  // namespace headwise
