#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/scheduler/admission.h"

namespace headwise {

Scheduler::Scheduler(const EngineOptions& options)
    : options_(options),
      max_running_(
          std::min(options.max_running_sequences, options.max_step_tokens)),
      kv_(options.kv_capacity_tokens) {
  HEADWISE_CHECK(options.max_step_tokens >= 1);
  HEADWISE_CHECK(options.max_running_sequences >= 1);
  HEADWISE_CHECK(options.max_queued_requests >= 1);
  HEADWISE_CHECK(options.prefill_chunk >= 1);
  HEADWISE_CHECK(options.kv_bytes_per_token >= 0);
  HEADWISE_CHECK(options.max_context_len >= 0);
}

absl::StatusOr<uint64_t> Scheduler::Submit(EngineRequest request,
                                           absl::Time now) {
  if (suspended_.has_value()) return *suspended_;
  HEADWISE_RETURN_IF_ERROR(
      CheckCanFit(request, options_, kv_.capacity_tokens()));
  const int64_t num_waiting = static_cast<int64_t>(waiting_.size());
  if (num_waiting >= options_.max_queued_requests) {
    return absl::ResourceExhaustedError(
        absl::StrCat(num_waiting, " requests wait already, at most ",
                     options_.max_queued_requests));
  }
  const uint64_t id = ++last_request_id_;
  if (request.deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(request.deadline, id);
  }
  waiting_.emplace(id, WaitingRequest{.request = std::move(request),
                                      .times = {.submitted = now}});
  return id;
}

void Scheduler::Cancel(uint64_t id, absl::Time now) {
  End(id, absl::CancelledError("cancelled by the client"), now);
}

void Scheduler::Stop(uint64_t id, absl::Time now) {
  End(id, absl::OkStatus(), now);
}

void Scheduler::CancelAll(absl::Time now) {
  EndAll(absl::CancelledError("the engine is shutting down"), now);
}

void Scheduler::Expire(absl::Time now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    End(deadlines_.begin()->second,
        absl::DeadlineExceededError("the request's deadline has passed"), now);
  }
}

void Scheduler::Suspend(const absl::Status& reason, absl::Time now) {
  suspended_ = absl::IsUnavailable(reason)
                   ? reason
                   : absl::UnavailableError(absl::StrCat(
                         "the group of workers is lost: ", reason.message()));
  EndAll(*suspended_, now);
  for (const SentStep& step : steps_) {
    if (!step.outcome.has_value()) ++lost_steps_unanswered_;
  }
  steps_.clear();
  frees_ = FreeQueue();
  kv_ = KvLedger(kv_.capacity_tokens());
  ++group_;
  last_step_id_ = 0;
}

void Scheduler::Resume(int64_t kv_capacity_tokens, absl::Time now) {
  // Caches of a new group are empty, whether or not we heard of the old one's
  // end.
  Suspend(absl::UnavailableError("the group of workers was replaced"), now);
  kv_ = KvLedger(kv_capacity_tokens);
  suspended_.reset();
}

std::optional<TicketedStep> Scheduler::NextStep(absl::Time now) {
  Expire(now);
  if (suspended_.has_value() || steps_unanswered() >= kMaxStepsInFlight) {
    return std::nullopt;
  }
  SentStep sent;
  Step step;
  sent.frees = frees_.Take();
  step.free_sequence_ids = sent.frees.sequence_ids;
  for (const uint64_t id : step.free_sequence_ids) kv_.Release(id);
  if (!sent.frees.is_retry) {
    Admit(now);
    AddSlices(step, sent);
  }
  if (step.slices.empty() && step.free_sequence_ids.empty()) {
    return std::nullopt;
  }
  step.step_id = sent.step_id = ++last_step_id_;
  ++steps_total_;
  steps_.push_back(std::move(sent));
  return TicketedStep{.ticket = {group_, last_step_id_},
                      .step = std::move(step)};
}

void Scheduler::Admit(absl::Time now) {
  while (!waiting_.empty() &&
         static_cast<int64_t>(running_.size()) < max_running_) {
    const auto head = waiting_.begin();
    const uint64_t id = head->first;
    if (!kv_.Reserve(id, NeededTokens(head->second.request))) return;
    head->second.times.admitted = now;
    running_.emplace(id, Sequence(id, std::move(head->second)));
    waiting_.erase(head);
  }
}

void Scheduler::AddSlices(Step& step, SentStep& sent) {
  int64_t room = options_.max_step_tokens;
  const auto add = [&](Slice slice) {
    room -= slice.num_rows();
    sent.slices.push_back({.sequence_id = slice.sequence_id,
                           .first_position = slice.first_position,
                           .num_rows = slice.num_rows(),
                           .sample = slice.sample,
                           .score = !slice.score_targets.empty(),
                           .hash_logits = slice.hash_logits,
                           .embed = slice.embed});
    step.slices.push_back(std::move(slice));
  };
  for (auto& [id, sequence] : running_) {
    if (sequence.can_decode()) add(sequence.NextDecodeSlice());
  }
  for (auto& [id, sequence] : running_) {
    if (room == 0) break;
    if (!sequence.has_prompt_left()) continue;
    add(sequence.NextPrefillSlice(std::min(room, options_.prefill_chunk)));
  }
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

bool Scheduler::ApplyOutcome(absl::Time now) {
  if (steps_.empty() || !steps_.front().outcome.has_value()) return false;
  SentStep step = std::move(steps_.front());
  steps_.pop_front();
  absl::StatusOr<StepResult>& outcome = *step.outcome;
  if (outcome.ok()) {
    ApplyResults(step, *std::move(outcome), now);
    return true;
  }
  const absl::Status status = outcome.status();
  if (absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status)) {
    // The workers changed nothing: their books and ours disagree.
    FailStep(
        step,
        absl::InternalError(absl::StrCat("the workers refused step ",
                                         step.step_id, ": ", status.message())),
        now);
    return true;
  }
  if (absl::IsOutOfRange(status)) {
    // A value was not finite or too large: the step's sequences hold garbage.
    for (const SentSlice& slice : step.slices) {
      OnSliceDone(slice.sequence_id, /*ran=*/true);
    }
    for (const SentSlice& slice : step.slices) {
      End(slice.sequence_id, absl::InternalError(status.message()), now);
    }
    return true;
  }
  // Any other error leaves the workers in a state that we do not know. The
  // step's requests hear what it was, the rest that the group is lost.
  if (!absl::IsUnavailable(status)) FailStep(step, status, now);
  Suspend(status, now);
  return true;
}

void Scheduler::FailStep(const SentStep& step, const absl::Status& status,
                         absl::Time now) {
  frees_.OnStepFailed(step.frees);
  for (const SentSlice& slice : step.slices) {
    OnSliceDone(slice.sequence_id, /*ran=*/false);
  }
  for (const SentSlice& slice : step.slices) {
    End(slice.sequence_id, status, now);
  }
}

void Scheduler::ApplyResults(SentStep& step, StepResult outcome,
                             absl::Time now) {
  for (const SentSlice& slice : step.slices) {
    OnSliceDone(slice.sequence_id, /*ran=*/true);
  }
  const bool complete = outcome.results.size() == step.slices.size();
  for (size_t i = 0; i < step.slices.size(); ++i) {
    if (!running_.contains(step.slices[i].sequence_id)) continue;
    if (!complete || !Matches(step.slices[i], outcome.results[i])) {
      End(step.slices[i].sequence_id,
          absl::InternalError(
              absl::StrCat("the workers' answer to step ", step.step_id,
                           " does not have what its step asked for")),
          now);
      continue;
    }
    ApplyResult(step.slices[i], std::move(outcome.results[i]), now);
  }
}

bool Scheduler::Matches(const SentSlice& sent, const SliceResult& outcome) {
  const size_t num_rows = static_cast<size_t>(sent.num_rows);
  return outcome.sequence_id == sent.sequence_id &&
         outcome.has_token == sent.sample &&
         outcome.score_logprobs.size() == (sent.score ? num_rows : 0) &&
         outcome.logits_digests.size() == (sent.hash_logits ? num_rows : 0) &&
         outcome.hidden.empty() != sent.embed &&
         outcome.hidden.size() % num_rows == 0;
}

void Scheduler::ApplyResult(const SentSlice& sent, SliceResult outcome,
                            absl::Time now) {
  Sequence& sequence = running_.at(sent.sequence_id);
  const bool is_prefill = sent.first_position < sequence.prompt_len();
  if (is_prefill) {
    sequence.OnPromptRowsDone(sent.num_rows, now);
    Emit({.kind = SchedulerEvent::Kind::kPrefill,
          .request_id = sequence.id(),
          .first = sequence.done_prompt_rows(),
          .total = sequence.prompt_len()});
  }
  bool is_last = false;
  if (sequence.request().kind != WorkKind::kGenerate) {
    is_last = sequence.done_prompt_rows() == sequence.prompt_len();
    Emit({.kind = SchedulerEvent::Kind::kRows,
          .request_id = sequence.id(),
          .first = sent.first_position,
          .outcome = std::move(outcome)});
  } else if (sent.sample) {
    is_last = sequence.OnToken(outcome.token);
    Emit({.kind = SchedulerEvent::Kind::kToken,
          .request_id = sequence.id(),
          .outcome = std::move(outcome)});
  }
  if (is_last) End(sequence.id(), absl::OkStatus(), now);
}

void Scheduler::OnSliceDone(uint64_t sequence_id, bool ran) {
  const auto found = running_.find(sequence_id);
  if (found != running_.end()) {
    found->second.OnSliceDone(ran);
  } else if (frees_.OnSlice(sequence_id, ran)) {
    kv_.Release(sequence_id);
  }
}

void Scheduler::End(uint64_t id, const absl::Status& status, absl::Time now) {
  absl::Time deadline;
  RequestUsage usage;
  if (const auto waiting = waiting_.find(id); waiting != waiting_.end()) {
    deadline = waiting->second.request.deadline;
    usage = UsageOf(waiting->second, now);
    waiting_.erase(waiting);
  } else if (const auto running = running_.find(id);
             running != running_.end()) {
    const Sequence& sequence = running->second;
    deadline = sequence.request().deadline;
    usage = sequence.Usage(now);
    if (frees_.Add(id, sequence.known_to_workers(),
                   sequence.slices_in_flight())) {
      kv_.Release(id);
    }
    running_.erase(running);
  } else {
    return;
  }
  deadlines_.erase({deadline, id});
  Emit({.kind = SchedulerEvent::Kind::kFinished,
        .request_id = id,
        .status = status,
        .usage = usage});
}

void Scheduler::EndAll(const absl::Status& status, absl::Time now) {
  while (!running_.empty()) End(running_.begin()->first, status, now);
  while (!waiting_.empty()) End(waiting_.begin()->first, status, now);
}

std::vector<SchedulerEvent> Scheduler::TakeEvents() {
  return std::exchange(events_, {});
}

int64_t Scheduler::steps_unanswered() const {
  return static_cast<int64_t>(steps_.size()) + lost_steps_unanswered_;
}

bool Scheduler::idle() const {
  return waiting_.empty() && running_.empty() && frees_.empty() &&
         steps_unanswered() == 0;
}

absl::Time Scheduler::next_deadline() const {
  return deadlines_.empty() ? absl::InfiniteFuture()
                            : deadlines_.begin()->first;
}

EngineStats Scheduler::stats() const {
  return {.running = static_cast<int64_t>(running_.size()),
          .waiting = static_cast<int64_t>(waiting_.size()),
          .kv_tokens_used = kv_.used_tokens(),
          .kv_tokens_capacity = kv_.capacity_tokens(),
          .steps_total = steps_total_};
}

}  // namespace headwise
