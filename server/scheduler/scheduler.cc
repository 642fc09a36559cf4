#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {

Scheduler::Scheduler(const EngineOptions& options)
    : options_(options),
      max_running_(
          std::min(options.max_running_sequences, options.max_step_tokens)),
      needs_(options.kv, options.kv_capacity),
      row_costs_(options.kv),
      kv_(needs_.capacity().rank_bytes),
      had_group_(!options.kv_capacity.rank_bytes.empty()) {
  HEADWISE_CHECK(options.max_step_tokens >= 1);
  HEADWISE_CHECK(options.max_running_sequences >= 1);
  HEADWISE_CHECK(options.max_queued_requests >= 1);
  HEADWISE_CHECK(options.prefill_chunk >= 1);
  HEADWISE_CHECK(options.max_background_rows >= 1);
  HEADWISE_CHECK(options.max_context_len >= 0);
  HEADWISE_CHECK(CheckTenantQuotas(options.quotas).ok());
}

void Scheduler::Cancel(uint64_t id, absl::Time now) {
  if (held_.Has(id)) return;  // it has ended, whether or not it is restored
  End(id, absl::CancelledError("cancelled by the client"), now);
}

void Scheduler::Stop(uint64_t id, absl::Time now) {
  End(id, absl::OkStatus(), now);
}

void Scheduler::Release(uint64_t id, absl::Time now) {
  if (held_.Has(id)) {
    if (const auto gone = held_.Release(id)) FreePrefix(*gone);
    return;
  }
  const auto is_prefix = [](const EngineRequest& request) {
    return request.kind == WorkKind::kPrefix;
  };
  const auto waiting = waiting_.find(id);
  const auto running = running_.find(id);
  if ((waiting != waiting_.end() && is_prefix(waiting->second.request)) ||
      (running != running_.end() && is_prefix(running->second.request()))) {
    End(id, absl::CancelledError("the prefix was released"), now);
  }
}

void Scheduler::CancelAll(absl::Time now) {
  EndAll(absl::CancelledError("the engine is shutting down"), now);
  for (const GonePrefix& gone : held_.ReleaseAll()) FreePrefix(gone);
}

void Scheduler::Expire(absl::Time now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    End(deadlines_.begin()->second,
        absl::DeadlineExceededError("the request's deadline has passed"), now);
  }
  if (suspended_.has_value() &&
      now - suspended_since_ >= options_.rebuild_wait) {
    EndAll(*suspended_, now);
  }
}

std::optional<TicketedStep> Scheduler::NextStep(absl::Time now) {
  Expire(now);
  if (suspended_.has_value() || steps_unanswered() >= kMaxStepsInFlight) {
    return std::nullopt;
  }
  if (!parks_.empty()) {
    if (!steps_.empty()) return std::nullopt;
    return NextParkStep(now);
  }
  SentStep sent;
  Step step;
  sent.frees = frees_.Take();
  if (!sent.frees.is_retry) {
    for (const uint64_t id : sent.frees.sequence_ids) ReleaseKv(id);
    EvictIdle(sent);
    PromoteOldest(now);
    AdmitWaiting(sent, now);
    AddSlices(step, sent);
  }
  step.free_sequence_ids = sent.frees.sequence_ids;
  if (step.slices.empty() && step.free_sequence_ids.empty()) {
    return std::nullopt;
  }
  if (!sent.frees.is_retry) plans_.AddDropsTo(step);
  sent.drop_plan_ids = step.drop_plan_ids;
  return Send(std::move(step), std::move(sent), now);
}

// With those that go as the last that began with them has gone.
void Scheduler::TakeFrees(SentStep& sent) {
  while (true) {
    const std::vector<uint64_t> ids = frees_.Take().sequence_ids;
    if (ids.empty()) return;
    for (const uint64_t id : ids) {
      sent.frees.sequence_ids.push_back(id);
      ReleaseKv(id);
    }
  }
}

TicketedStep Scheduler::Send(Step step, SentStep sent, absl::Time now) {
  sent.sent_at = now;
  for (const NumberedPlan& plan : step.plans) {
    sent.plan_ids.push_back(plan.plan_id);
  }
  step.step_id = sent.step_id = ++last_step_id_;
  ++steps_total_;
  steps_.push_back(std::move(sent));
  return TicketedStep{.ticket = {group_, last_step_id_},
                      .step = std::move(step)};
}

void Scheduler::AddOutcome(const StepTicket& ticket,
                           absl::StatusOr<StepResult> outcome) {
  if (ticket.group != group_) {
    --lost_steps_unanswered_;
    HEADWISE_CHECK(lost_steps_unanswered_ >= 0);
    return;
  }
  for (SentStep& step : steps_) {
    if (step.step_id != ticket.step_id) continue;
    HEADWISE_CHECK(!step.outcome.has_value());
    step.outcome = std::move(outcome);
    return;
  }
  HEADWISE_CHECK(false && "an answer to a step that was not sent");
}

void Scheduler::ReleaseKv(uint64_t sequence_id) {
  look_for_idle_ = true;
  kv_.Release(sequence_id);
  if (held_.NeedsOrigin(sequence_id)) return;
  if (const auto gone = held_.EndFork(sequence_id)) FreePrefix(*gone);
}

void Scheduler::FreePrefix(GonePrefix prefix) {
  if (prefix.place != PrefixPlace::kLost) {
    frees_.Add(prefix.id, /*known_to_workers=*/true, /*slices_in_flight=*/0);
    return;
  }
  const auto running = running_.find(prefix.id);
  if (running != running_.end()) {
    const Sequence ended = std::move(running->second);
    running_.erase(running);
    ForgetRunning(ended);
  } else if (!frees_.Holds(prefix.id)) {
    ReleaseKv(prefix.id);
  }
}

void Scheduler::Hold(uint64_t id, absl::Time now) {
  look_for_idle_ = true;
  const auto running = running_.find(id);
  Sequence& sequence = running->second;
  plans_.Release(sequence.plan_id());  // workers keep a sequence's own
  if (held_.Has(id)) {                 // a restore
    HeldPrefix& restored = held_.At(id);
    restored.place = PrefixPlace::kMemory;
    restored.num_losses = 0;
    running_.erase(running);
    return;
  }
  MeasureEnd(sequence, /*is_whole=*/true, now);
  const RequestUsage usage = sequence.Usage(now);
  const int64_t length = sequence.prefix_len() + sequence.prompt_len();
  EngineRequest request = sequence.Release().request;
  running_.erase(running);
  held_.Add(id, {.length = length,
                 .tenant = std::move(request.tenant),
                 .plan = std::move(request.plan),
                 .tokens = std::move(request.prompt),
                 .may_evict = request.may_evict});
  EmitEnd(id, request.deadline, absl::OkStatus(), usage);
}

void Scheduler::EmitEnd(uint64_t id, absl::Time deadline,
                        const absl::Status& status, const RequestUsage& usage) {
  deadlines_.erase({deadline, id});
  Emit({.kind = SchedulerEvent::Kind::kFinished,
        .request_id = id,
        .status = status,
        .usage = usage});
}

void Scheduler::ForgetRunning(const Sequence& sequence) {
  plans_.Release(sequence.plan_id());
  plans_.Release(sequence.contrast_plan_id());
  if (frees_.Add(sequence.id(), sequence.known_to_workers(),
                 sequence.slices_in_flight())) {
    ReleaseKv(sequence.id());
  }
}

void Scheduler::End(uint64_t id, const absl::Status& status, absl::Time now) {
  if (held_.Has(id)) return EndRestore(id, status, now);
  if (const auto waiting = waiting_.find(id); waiting != waiting_.end()) {
    const WaitingRequest ended = std::move(waiting->second);
    waiting_.erase(waiting);
    ReleaseKv(id);
    EmitEnd(id, ended.request.deadline, status, UsageOf(ended, now));
  } else if (const auto running = running_.find(id);
             running != running_.end()) {
    const Sequence ended = std::move(running->second);
    running_.erase(running);
    ForgetRunning(ended);
    MeasureEnd(ended, status.ok(), now);
    EmitEnd(id, ended.request().deadline, status, ended.Usage(now));
  }
}

void Scheduler::EndAll(const absl::Status& status, absl::Time now) {
  while (!running_.empty()) End(running_.begin()->first, status, now);
  while (!waiting_.empty()) End(waiting_.begin()->first, status, now);
}

void Scheduler::EndRequests(const absl::Status& status, absl::Time now) {
  std::vector<uint64_t> ids;
  for (const auto& [id, sequence] : running_) ids.push_back(id);
  for (const auto& [id, waiting] : waiting_) ids.push_back(id);
  for (const uint64_t id : ids) {
    if (!held_.Has(id)) End(id, status, now);
  }
}

std::vector<SchedulerEvent> Scheduler::TakeEvents() {
  return std::exchange(events_, {});
}

int64_t Scheduler::steps_unanswered() const {
  return static_cast<int64_t>(steps_.size()) + lost_steps_unanswered_;
}

bool Scheduler::idle() const {
  return waiting_.empty() && running_.empty() && parks_.empty() &&
         frees_.empty() && steps_unanswered() == 0;
}

absl::Time Scheduler::next_deadline() const {
  absl::Time next = absl::InfiniteFuture();
  if (!deadlines_.empty()) next = deadlines_.begin()->first;
  if (suspended_.has_value() && !waiting_.empty()) {
    next = std::min(next, suspended_since_ + options_.rebuild_wait);
  }
  return next;
}

EngineStats Scheduler::stats() const {
  return {.running = static_cast<int64_t>(running_.size()),
          .waiting = static_cast<int64_t>(waiting_.size()),
          .waiting_limit = options_.max_queued_requests,
          .held = held_.num_held(),
          .parked = held_.num_parked(),
          .evicted = held_.num_lost(),
          .kv_bytes_used = kv_.used(),
          .kv_bytes_capacity = kv_.capacity(),
          .parked_bytes = held_.file_bytes(),
          .steps_total = steps_total_,
          .evictions_total = evictions_total_,
          .preemptions_total = preemptions_total_};
}

}  // namespace headwise
