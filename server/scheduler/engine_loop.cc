#include "server/scheduler/engine_loop.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/pulse.h"

namespace headwise {
namespace {

bool IsFalse(bool* value) { return !*value; }

}  // namespace

EngineLoop::EngineLoop(const EngineOptions& options, Dispatcher& dispatcher,
                       const Clock& clock)
    : dispatcher_(dispatcher),
      clock_(clock),
      inbox_(std::make_shared<OutcomeInbox>()),
      scheduler_(options) {}

absl::StatusOr<uint64_t> EngineLoop::Begin(
    const std::function<absl::StatusOr<uint64_t>(Scheduler&)>& start,
    std::shared_ptr<RequestSink> sink) {
  absl::StatusOr<uint64_t> id;
  {
    absl::MutexLock lock(&mutex_);
    if (!closed_.ok()) return closed_;
    if (!refused_.ok()) return refused_;
    id = start(scheduler_);
    if (!id.ok()) return id;
    sinks_.emplace(*id, std::move(sink));
  }
  inbox_->Wake();
  return id;
}

absl::StatusOr<uint64_t> EngineLoop::Submit(EngineRequest request,
                                            std::shared_ptr<RequestSink> sink) {
  return Begin(
      [&](Scheduler& scheduler) {
        return scheduler.Submit(std::move(request), clock_.Now());
      },
      std::move(sink));
}

absl::StatusOr<uint64_t> EngineLoop::Park(uint64_t id,
                                          std::shared_ptr<RequestSink> sink) {
  return Begin([id](Scheduler& scheduler) { return scheduler.Park(id); },
               std::move(sink));
}

absl::StatusOr<uint64_t> EngineLoop::Unpark(uint64_t id,
                                            std::shared_ptr<RequestSink> sink) {
  return Begin([id](Scheduler& scheduler) { return scheduler.Unpark(id); },
               std::move(sink));
}

void EngineLoop::Cancel(uint64_t id) {
  {
    absl::MutexLock lock(&mutex_);
    scheduler_.Cancel(id, clock_.Now());
  }
  inbox_->Wake();
}

uint64_t EngineLoop::HoldTokens(std::vector<int32_t> tokens,
                                std::shared_ptr<const HeadPlan> plan,
                                std::string tenant) {
  absl::MutexLock lock(&mutex_);
  return scheduler_.HoldTokens(std::move(tokens), std::move(plan),
                               std::move(tenant));
}

absl::StatusOr<std::vector<int32_t>> EngineLoop::TokensOf(uint64_t id) const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.TokensOf(id);
}

void EngineLoop::Release(uint64_t id) {
  {
    absl::MutexLock lock(&mutex_);
    scheduler_.Release(id, clock_.Now());
  }
  inbox_->Wake();
}

void EngineLoop::Suspend(absl::Status reason, GroupEnd end) {
  {
    absl::MutexLock lock(&mutex_, absl::Condition(&IsFalse, &is_sending_));
    scheduler_.Suspend(reason, end, clock_.Now());
  }
  inbox_->Wake();
}

ResumeReport EngineLoop::Resume(KvCapacity capacity) {
  ResumeReport report;
  {
    absl::MutexLock lock(&mutex_, absl::Condition(&IsFalse, &is_sending_));
    report = scheduler_.Resume(std::move(capacity), clock_.Now());
  }
  inbox_->Wake();
  return report;
}

void EngineLoop::Refuse(absl::Status reason) {
  {
    absl::MutexLock lock(&mutex_);
    refused_ = std::move(reason);
    if (!refused_.ok()) scheduler_.EndRequests(refused_, clock_.Now());
  }
  inbox_->Wake();
}

void EngineLoop::Close(absl::Status reason) {
  {
    absl::MutexLock lock(&mutex_);
    if (closed_.ok()) closed_ = std::move(reason);
    scheduler_.EndAll(closed_, clock_.Now());
  }
  inbox_->Wake();
}

void EngineLoop::BeginShutdown() {
  {
    absl::MutexLock lock(&mutex_);
    if (closed_.ok()) {
      closed_ = absl::UnavailableError("the engine is shutting down");
    }
    is_shutting_down_ = true;
    scheduler_.CancelAll(clock_.Now());
  }
  inbox_->Wake();
}

bool EngineLoop::finished() const {
  absl::MutexLock lock(&mutex_);
  return is_shutting_down_ && sinks_.empty() && scheduler_.idle();
}

absl::StatusOr<SizeAnswer> EngineLoop::AskSize(
    const SizeQuestion& question) const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.AskSize(question);
}

EngineStats EngineLoop::stats() const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.stats();
}

bool EngineLoop::Step() {
  AddArrivals(inbox_->Take());
  const bool has_applied = ApplyArrivals();
  const bool has_sent = FillPipeline();
  return has_applied || has_sent;
}

void EngineLoop::AwaitWork() {
  absl::Time deadline;
  {
    absl::MutexLock lock(&mutex_);
    deadline = scheduler_.next_deadline();
  }
  inbox_->Await(std::min(deadline - clock_.Now(), kPulseInterval));
}

void EngineLoop::AddArrivals(std::vector<OutcomeInbox::Arrival> arrivals) {
  absl::MutexLock lock(&mutex_);
  for (OutcomeInbox::Arrival& arrival : arrivals) {
    scheduler_.AddOutcome(arrival.ticket, std::move(arrival.outcome));
  }
}

// One outcome at a time: a sink that stops at one token must not hear the next.
bool EngineLoop::ApplyArrivals() {
  bool has_applied = false;
  while (true) {
    std::optional<TicketedStep> step;
    std::vector<SinkCall> calls;
    {
      absl::MutexLock lock(&mutex_);
      if (!scheduler_.ApplyOutcome(clock_.Now())) return has_applied;
      has_applied = true;
      if (!scheduler_.has_steps_in_flight()) {
        step = NextStepLocked();
      }
      calls = TakeCallsLocked();
    }
    if (step.has_value()) Send(*std::move(step));
    Deliver(std::move(calls));
  }
}

bool EngineLoop::FillPipeline() {
  bool has_worked = false;
  while (true) {
    std::optional<TicketedStep> step;
    std::vector<SinkCall> calls;
    {
      absl::MutexLock lock(&mutex_);
      step = NextStepLocked();
      calls = TakeCallsLocked();
    }
    if (!step.has_value() && calls.empty()) return has_worked;
    has_worked = true;
    if (step.has_value()) Send(*std::move(step));
    Deliver(std::move(calls));
  }
}

void EngineLoop::Send(TicketedStep step) {
  dispatcher_.Submit(std::move(step.step),
                     [inbox = inbox_, ticket = step.ticket](
                         absl::StatusOr<StepResult> outcome) {
                       inbox->Put({ticket, std::move(outcome)});
                     });
  absl::MutexLock lock(&mutex_);
  is_sending_ = false;
}

std::optional<TicketedStep> EngineLoop::NextStepLocked() {
  std::optional<TicketedStep> step = scheduler_.NextStep(clock_.Now());
  is_sending_ = step.has_value();
  return step;
}

std::vector<EngineLoop::SinkCall> EngineLoop::TakeCallsLocked() {
  std::vector<SinkCall> calls;
  for (SchedulerEvent& event : scheduler_.TakeEvents()) {
    const auto found = sinks_.find(event.request_id);
    std::shared_ptr<RequestSink> sink = found->second;
    if (event.kind == SchedulerEvent::Kind::kFinished) sinks_.erase(found);
    calls.push_back({std::move(sink), std::move(event)});
  }
  return calls;
}

void EngineLoop::Deliver(std::vector<SinkCall> calls) {
  std::vector<uint64_t> stopped;
  for (const SinkCall& call : calls) {
    const SchedulerEvent& event = call.event;
    switch (event.kind) {
      case SchedulerEvent::Kind::kPrefill:
        call.sink->OnPrefill(event.first, event.total);
        break;
      case SchedulerEvent::Kind::kToken:
        if (!call.sink->OnToken(event.outcome)) {
          stopped.push_back(event.request_id);
        }
        break;
      case SchedulerEvent::Kind::kRows:
        call.sink->OnRows(event.first, event.outcome);
        break;
      case SchedulerEvent::Kind::kFinished:
        call.sink->OnFinished(event.status, event.usage);
        break;
    }
  }
  if (stopped.empty()) return;
  absl::MutexLock lock(&mutex_);
  for (const uint64_t id : stopped) scheduler_.Stop(id, clock_.Now());
}

}  // namespace headwise
