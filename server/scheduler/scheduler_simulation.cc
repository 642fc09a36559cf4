#include "server/scheduler/scheduler_simulation.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

bool IsGroupLost(const absl::Status& status) {
  return !status.ok() && !absl::IsInvalidArgument(status) &&
         !absl::IsResourceExhausted(status) && !absl::IsOutOfRange(status);
}

void Append(const SliceResult& outcome, SliceResult& rows) {
  const auto append = [](const auto& from, auto& to) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(outcome.score_logprobs, rows.score_logprobs);
  append(outcome.logits_digests, rows.logits_digests);
  append(outcome.hidden, rows.hidden);
}

}  // namespace

SchedulerSimulation::SchedulerSimulation(uint64_t seed,
                                         const SimulatedFault& fault)
    : random_(seed),
      options_(RandomOptions()),
      capacity_(options_.kv_capacity),
      fault_(fault),
      scheduler_(options_),
      workers_(std::in_place, options_.kv, options_.kv_capacity) {}

void SchedulerSimulation::Run() {
  const int64_t num_actions = 100 + Below(300);
  for (int64_t i = 0; i < num_actions; ++i) {
    Act();
    if (testing::Test::HasFailure()) return;
  }
  CheckDrains();
}

void SchedulerSimulation::Act() {
  switch (Below(8)) {
    case 0:
      return SubmitOne();
    case 1:
      if (Below(3) == 0) return CancelOne();
      if (Below(2) == 0) return ReleaseOne();
      return Below(3) == 0 ? HoldTokens() : SubmitOne();
    case 2:
      now_ +=
          Below(60) == 0 ? kBackgroundPatience : absl::Milliseconds(Below(20));
      return;
    case 3:
    case 4:
      return FormStep();
    case 5:
      return ExecuteOldest();
    case 6:
      return DeliverOne();
    case 7:
      return MaybeResume();
  }
}

void SchedulerSimulation::ReleaseOne() {
  if (held_.empty()) return;
  auto held = held_.begin();
  std::advance(held, Below(static_cast<int64_t>(held_.size())));
  scheduler_.Release(*held, now_);
  held_.erase(held);
  HearEvents();
}

void SchedulerSimulation::CancelOne() {
  if (records_.empty()) return;
  auto chosen = records_.begin();
  std::advance(chosen, Below(static_cast<int64_t>(records_.size())));
  chosen->second.is_cancelled = true;
  scheduler_.Cancel(chosen->first, now_);
  HearEvents();
  EXPECT_TRUE(chosen->second.finished.has_value());
}

void SchedulerSimulation::FormStep() {
  std::optional<TicketedStep> ticketed = scheduler_.NextStep(now_);
  HearEvents();
  for (const auto& [id, record] : records_) {
    if (record.request.deadline <= now_) {
      EXPECT_TRUE(record.finished.has_value());
    }
  }
  CheckProgress(ticketed.has_value());
  if (!ticketed.has_value()) return;
  EXPECT_FALSE(is_suspended_);
  CheckStep(ticketed->step);
  SentStep& step = steps_.emplace_back();
  step.ticketed = *std::move(ticketed);
  step.failures_known = failures_applied_;
  EXPECT_LE(static_cast<int>(steps_.size() + lost_steps_.size()),
            kMaxStepsInFlight);
  ++num_steps_;
  if (!IsFaulty()) return;
  step.is_faulty = !fault_.is_suspend;
  if (!fault_.is_suspend) return;
  scheduler_.Suspend(absl::NotFoundError("a worker is gone"), GroupEnd::kLost,
                     now_);
  LoseGroup();
  HearEvents();
}

bool SchedulerSimulation::IsFaulty() const {
  return fault_.is_repeated ? num_steps_ % fault_.nth_step == 0
                            : num_steps_ == fault_.nth_step;
}

// A step that was formed while the failure of an earlier one was not known may
// be refused; any other must be accepted.
void SchedulerSimulation::ExecuteOldest() {
  const auto step = std::find_if(
      steps_.begin(), steps_.end(),
      [](const SentStep& sent) { return !sent.outcome.has_value(); });
  if (step == steps_.end()) return;
  if (!workers_.has_value()) {
    step->outcome = absl::UnavailableError("the group is lost");
  } else if (step->is_faulty && fault_.code == absl::StatusCode::kOutOfRange) {
    // It ran, and some value of it was not finite.
    EXPECT_TRUE(workers_->Execute(step->ticketed.step).ok());
    step->outcome = absl::OutOfRangeError("injected");
  } else if (step->is_faulty) {
    step->outcome = absl::Status(fault_.code, "injected");
    workers_->SkipStep();
  } else {
    step->outcome = workers_->Execute(step->ticketed.step);
    if (!step->outcome->ok()) {
      EXPECT_GT(failures_executed_, step->failures_known)
          << step->outcome->status();
    }
  }
  if (step->outcome->ok()) return;
  ++failures_executed_;
  if (IsGroupLost(step->outcome->status())) workers_.reset();
}

void SchedulerSimulation::DeliverOne() {
  std::vector<SentStep*> ready;
  for (std::deque<SentStep>* steps : {&steps_, &lost_steps_}) {
    for (SentStep& step : *steps) {
      if (step.outcome.has_value() && !step.is_delivered) {
        ready.push_back(&step);
      }
    }
  }
  if (ready.empty()) return;
  SentStep& chosen = *ready[Below(static_cast<int64_t>(ready.size()))];
  chosen.is_delivered = true;
  scheduler_.AddOutcome(chosen.ticketed.ticket, *chosen.outcome);
  std::erase_if(lost_steps_,
                [](const SentStep& step) { return step.is_delivered; });
  while (scheduler_.ApplyOutcome(now_)) {
    ASSERT_FALSE(steps_.empty());
    const absl::Status status = steps_.front().outcome->status();
    steps_.pop_front();
    if (!status.ok()) ++failures_applied_;
    if (IsGroupLost(status)) LoseGroup();
    HearEvents();
  }
}

void SchedulerSimulation::SetBack(Record& record) {
  record.is_begun = false;
  record.replay_rows = record.tokens.empty()
                           ? record.num_prefilled
                           : static_cast<int64_t>(record.request.prompt.size() +
                                                  record.tokens.size() - 1);
}

void SchedulerSimulation::LoseGroup() {
  if (!is_suspended_) suspended_since_ = now_;
  is_suspended_ = true;
  steps_without_progress_ = 0;
  for (auto& [id, record] : records_) SetBack(record);
  workers_.reset();
  ++failures_executed_;
  failures_applied_ = failures_executed_;
  for (SentStep& step : steps_) {
    if (step.is_delivered) continue;
    if (!step.outcome.has_value()) {
      step.outcome = absl::UnavailableError("the group is lost");
    }
    lost_steps_.push_back(std::move(step));
  }
  steps_.clear();
}

void SchedulerSimulation::MaybeResume() {
  if (!is_suspended_) return;
  if (Below(4) == 0) {
    capacity_ = RandomOptions().kv_capacity;
  }
  workers_.emplace(options_.kv, capacity_);
  EXPECT_EQ(scheduler_.Resume(capacity_, now_).paused, now_ - suspended_since_);
  is_suspended_ = false;
  ++num_resumes_;
  HearEvents();
}

bool SchedulerSimulation::HasGivenUp() const {
  return is_suspended_ && now_ - suspended_since_ >= options_.rebuild_wait;
}

void SchedulerSimulation::HearEvents() {
  std::vector<uint64_t> stopped;
  for (SchedulerEvent& event : scheduler_.TakeEvents()) {
    Record& record = records_.at(event.request_id);
    ASSERT_FALSE(record.finished.has_value()) << "heard after the end";
    steps_without_progress_ = 0;
    switch (event.kind) {
      case SchedulerEvent::Kind::kPrefill:
        EXPECT_GT(event.first, record.num_prefilled);
        EXPECT_LE(event.first, event.total);
        record.num_prefilled = event.first;
        break;
      case SchedulerEvent::Kind::kToken:
        record.tokens.push_back(event.outcome.token);
        if (static_cast<int64_t>(record.tokens.size()) == record.stop_after) {
          stopped.push_back(event.request_id);
        }
        break;
      case SchedulerEvent::Kind::kRows:
        EXPECT_EQ(event.first,
                  record.num_rows +
                      static_cast<int64_t>(record.prefix.tokens.size()));
        record.num_rows = record.num_prefilled;
        for (const HeadProbe& probe : event.outcome.probes) {
          record.num_probed += static_cast<int64_t>(probe.argmax.size());
        }
        Append(event.outcome, record.rows);
        break;
      case SchedulerEvent::Kind::kFinished:
        record.finished = event.status;
        if (record.request.kind == WorkKind::kPrefix && event.status.ok()) {
          held_.insert(event.request_id);
        }
        CheckEnd(record, event.usage);
        break;
    }
  }
  for (const uint64_t id : stopped) scheduler_.Stop(id, now_);
  if (!stopped.empty()) HearEvents();
}

void SchedulerSimulation::CheckEnd(const Record& record,
                                   const RequestUsage& usage) {
  const int64_t num_tokens = static_cast<int64_t>(record.tokens.size());
  EXPECT_EQ(usage.prompt_tokens,
            static_cast<int64_t>(record.request.prompt.size()));
  EXPECT_EQ(usage.generated_tokens, num_tokens);
  EXPECT_EQ(usage.received_tokens,
            static_cast<int64_t>(record.request.received.size()));
  EXPECT_EQ(usage.queue_time + usage.prefill_time + usage.decode_time,
            now_ - record.submitted);
  std::vector<int32_t> expected = record.expected.tokens;
  switch (record.finished->code()) {
    case absl::StatusCode::kOk:
      ++num_answered_ok_;
      EXPECT_EQ(record.rows.score_logprobs, record.expected.score_logprobs);
      EXPECT_EQ(record.rows.logits_digests, record.expected.logits_digests);
      EXPECT_EQ(record.rows.hidden, record.expected.hidden);
      // A sink that stops at its first token has heard all of the prompt.
      EXPECT_EQ(record.num_probed,
                record.request.probe.argmax ? usage.prompt_tokens : 0);
      if (num_tokens == record.stop_after) expected.resize(num_tokens);
      break;
    case absl::StatusCode::kCancelled:
      EXPECT_TRUE(record.is_cancelled);
      break;
    case absl::StatusCode::kDeadlineExceeded:
      EXPECT_LE(record.request.deadline, now_);
      break;
    case absl::StatusCode::kUnavailable:
      EXPECT_TRUE(HasGivenUp()) << *record.finished;
      break;
    case absl::StatusCode::kOutOfRange:
      EXPECT_GT(num_resumes_, 0) << *record.finished;
      break;
    default:
      EXPECT_GT(failures_executed_, 0) << *record.finished;
      EXPECT_FALSE(fault_.is_loss() && !fault_.is_repeated) << *record.finished;
      EXPECT_THAT(record.finished->code(),
                  testing::AnyOf(absl::StatusCode::kInternal,
                                 absl::StatusCode::kDataLoss));
  }
  // What it heard before it ended is the beginning of its own answer.
  if (!record.finished->ok()) expected.resize(num_tokens);
  EXPECT_EQ(record.tokens, expected);
}

void SchedulerSimulation::CheckDrains() {
  // Every round moves each stage of the pipeline once; a request needs at most
  // one step for each of its 140 rows, and a few to be freed; all of it again
  // after each loss.
  const int64_t num_runs = fault_.is_repeated ? 100 : 2;
  const int64_t max_rounds =
      (static_cast<int64_t>(records_.size()) * 200 + 100) * num_runs;
  while (!held_.empty()) ReleaseOne();
  for (int64_t i = 0; i < max_rounds && !scheduler_.idle(); ++i) {
    FormStep();
    ExecuteOldest();
    DeliverOne();
    while (!held_.empty()) ReleaseOne();
    MaybeResume();
  }
  EXPECT_TRUE(scheduler_.idle());
  for (const auto& [id, record] : records_) {
    EXPECT_TRUE(record.finished.has_value()) << "request " << id;
  }
  EXPECT_THAT(scheduler_.stats().kv_bytes_used, testing::Each(0));
  EXPECT_EQ(scheduler_.stats().held, 0);
  EXPECT_EQ(scheduler_.next_deadline(), absl::InfiniteFuture());
  EXPECT_EQ(workers_.has_value() ? workers_->num_sequences() : 0, 0);
}

}  // namespace headwise
