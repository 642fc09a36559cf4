// The part of the scheduler that says whether a request will be in time, and
// when one that is refused should come again.

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/error_facts.h"
#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

// A forecast may be wrong by so much: what is refused would have been late with
// workers twice as fast.
constexpr double kDoubt = 2;
// Of two that wait, one lets the other pass if so many times of what it is
// likely to take is more than what is left of its time.
constexpr double kLateShare = 1.5;

RequestWork WorkOf(const WaitingRequest& waiting) {
  const EngineRequest& request = waiting.request;
  return {.prompt_cost = waiting.prompt_cost,
          .max_new_tokens =
              request.kind == WorkKind::kGenerate ? request.max_new_tokens : 0};
}

int64_t Milliseconds(absl::Duration duration) {
  return absl::ToInt64Milliseconds(duration);
}

}  // namespace

double Scheduler::PromptCost(const EngineRequest& request,
                             int64_t prefix_len) const {
  const int64_t rows = static_cast<int64_t>(request.prompt.size());
  const HeadPlan* plan = request.plan.get();
  const double mean = (row_costs_.Of(plan, prefix_len) +
                       row_costs_.Of(plan, prefix_len + rows - 1)) /
                      2;
  return static_cast<double>(rows) * mean *
         (request.contrast_plan == nullptr ? 1 : 2);
}

int64_t Scheduler::NumBefore(const std::string& tenant) const {
  struct Tenant {
    int64_t running = 0;
    int64_t waiting = 0;
  };
  std::map<absl::string_view, Tenant> tenants;
  for (const auto& [id, sequence] : running_) {
    ++tenants[sequence.request().tenant].running;
  }
  for (const auto& [id, waiting] : waiting_) {
    if (!waiting.is_background()) {
      ++tenants[waiting.request.tenant].waiting;
    }
  }
  const Tenant own = tenants[tenant];
  int64_t before = own.waiting;
  tenants.erase(tenant);
  for (const auto& [name, other] : tenants) {
    const int64_t turns = own.running + own.waiting - other.running;
    before += std::clamp<int64_t>(turns, 0, other.waiting);
  }
  return before;
}

absl::Duration Scheduler::RetryTime(int64_t num_before) const {
  return std::clamp(times_.QueueTime(num_before) / kDoubt, kAskAgainSoon,
                    kAskAgainAtLast);
}

absl::Status Scheduler::CheckDeadline(const WaitingRequest& waiting,
                                      absl::Time now) const {
  const absl::Time deadline = waiting.request.deadline;
  if (deadline == absl::InfiniteFuture() || suspended_.has_value()) {
    return absl::OkStatus();
  }
  const absl::Duration left = deadline - now;
  const absl::Duration least = times_.LeastTime(WorkOf(waiting), now);
  if (least / kDoubt > left) {
    return WithFacts(
        absl::DeadlineExceededError(absl::StrCat(
            "the deadline is in ", Milliseconds(left), " ms; a prompt of ",
            waiting.prompt_len(), " tokens would take ", Milliseconds(least),
            " ms by what steps took lately, and it is refused if half of that "
            "is too long")),
        {.reason = "DEADLINE_TOO_SHORT",
         .numbers = {{"left_ms", Milliseconds(left)},
                     {"forecast_ms", Milliseconds(least)}}});
  }
  if (!queue_stands_ || waiting.request.is_background) return absl::OkStatus();
  const int64_t num_before = NumBefore(waiting.request.tenant) + 1;
  const absl::Duration forecast = times_.QueueTime(num_before) + least;
  if (forecast / kDoubt <= left) return absl::OkStatus();
  return WithFacts(
      absl::ResourceExhaustedError(absl::StrCat(
          "the deadline is in ", Milliseconds(left), " ms; it would take ",
          Milliseconds(forecast), " ms until ", num_before,
          " requests have ended before it, and it is refused if half of that "
          "is too long")),
      {.reason = "QUEUE_TOO_LONG",
       .numbers = {{"left_ms", Milliseconds(left)},
                   {"forecast_ms", Milliseconds(forecast)}},
       .retry_after = RetryTime(num_before)});
}

absl::Duration Scheduler::TimeToSpare(const WaitingRequest& waiting,
                                      absl::Time now) const {
  return waiting.request.deadline - now -
         times_.LikelyTime(WorkOf(waiting)) * kLateShare;
}

void Scheduler::MeasureStep(const SentStep& step, absl::Time now) {
  const absl::Time begin = std::max(step.sent_at, last_answer_);
  last_answer_ = now;
  if (step.outcome->ok()) times_.OnStep(step.cost, now - begin, now);
}

void Scheduler::MeasureEnd(const Sequence& sequence, bool is_whole,
                           absl::Time now) {
  // It gave way, so its times say nothing of others'.
  if (sequence.request().is_background) return;
  const RequestUsage usage = sequence.Usage(now);
  const bool has_prompt = sequence.done_prompt_rows() == sequence.prompt_len();
  times_.OnEnd({.prompt_cost = has_prompt ? sequence.prompt_cost() : 0,
                .prefill_time = usage.prefill_time,
                .generated_tokens = usage.generated_tokens,
                .decode_time = usage.decode_time,
                .max_new_tokens = sequence.request().max_new_tokens,
                .is_whole = is_whole},
               now);
}

}  // namespace headwise
