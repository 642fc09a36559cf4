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
      needs_(options.kv, options.kv_capacity),
      kv_(needs_.capacity().rank_bytes) {
  HEADWISE_CHECK(options.max_step_tokens >= 1);
  HEADWISE_CHECK(options.max_running_sequences >= 1);
  HEADWISE_CHECK(options.max_queued_requests >= 1);
  HEADWISE_CHECK(options.prefill_chunk >= 1);
  HEADWISE_CHECK(options.max_context_len >= 0);
}

absl::StatusOr<uint64_t> Scheduler::Submit(EngineRequest request,
                                           absl::Time now) {
  if (suspended_.has_value()) return *suspended_;
  AdmissionTerms terms = {.needs = needs_,
                          .max_context_len = options_.max_context_len};
  if (request.fork_from != 0) {
    terms.prefix = held_.Find(request.fork_from);
    if (terms.prefix == nullptr) {
      return absl::NotFoundError(absl::StrCat("fork_from ", request.fork_from,
                                              ": no such prefix is held"));
    }
    if (terms.prefix->place != PrefixPlace::kMemory) {
      return absl::FailedPreconditionError(
          absl::StrCat("fork_from ", request.fork_from, ": is parked"));
    }
    terms.prefix_bytes.resize(kv_.capacity().size(), 0);
    for (const uint64_t held : held_.ChainOf(request.fork_from)) {
      const std::vector<int64_t> bytes = kv_.Reserved(held);
      for (size_t rank = 0; rank < bytes.size(); ++rank) {
        terms.prefix_bytes[rank] += bytes[rank];
      }
    }
  }
  HEADWISE_ASSIGN_OR_RETURN(std::vector<int64_t> kv_bytes,
                            Admit(request, terms));
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
  if (terms.prefix != nullptr) held_.AddFork(id, request.fork_from);
  waiting_.emplace(
      id, WaitingRequest{
              .request = std::move(request),
              .times = {.submitted = now},
              .prefix_len = terms.prefix == nullptr ? 0 : terms.prefix->length,
              .kv_bytes = std::move(kv_bytes)});
  return id;
}

void Scheduler::Cancel(uint64_t id, absl::Time now) {
  End(id, absl::CancelledError("cancelled by the client"), now);
}

void Scheduler::Stop(uint64_t id, absl::Time now) {
  End(id, absl::OkStatus(), now);
}

void Scheduler::Release(uint64_t id, absl::Time now) {
  const auto is_prefix = [](const EngineRequest& request) {
    return request.kind == WorkKind::kPrefix;
  };
  const auto waiting = waiting_.find(id);
  const auto running = running_.find(id);
  if ((waiting != waiting_.end() && is_prefix(waiting->second.request)) ||
      (running != running_.end() && is_prefix(running->second.request()))) {
    End(id, absl::CancelledError("the prefix was released"), now);
  }
  if (held_.Release(id)) FreePrefix(id);
}

void Scheduler::CancelAll(absl::Time now) {
  EndAll(absl::CancelledError("the engine is shutting down"), now);
  for (const uint64_t id : held_.ReleaseAll()) FreePrefix(id);
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
  while (!parks_.empty()) EndPark(parks_.begin()->first, *suspended_);
  for (const SentStep& step : steps_) {
    if (!step.outcome.has_value()) ++lost_steps_unanswered_;
  }
  steps_.clear();
  frees_ = FreeQueue();
  held_ = HeldPrefixes();
  plans_ = PlanTable();
  kv_ = KvLedger(needs_.capacity().rank_bytes);
  ++group_;
  last_step_id_ = 0;
}

void Scheduler::Resume(KvCapacity capacity, absl::Time now) {
  // Caches of a new group are empty, whether or not we heard of the old one's
  // end.
  Suspend(absl::UnavailableError("the group of workers was replaced"), now);
  needs_ = KvNeeds(options_.kv, std::move(capacity));
  kv_ = KvLedger(needs_.capacity().rank_bytes);
  suspended_.reset();
}

std::optional<TicketedStep> Scheduler::NextStep(absl::Time now) {
  Expire(now);
  if (suspended_.has_value() || steps_unanswered() >= kMaxStepsInFlight) {
    return std::nullopt;
  }
  if (!parks_.empty()) {
    if (!steps_.empty()) return std::nullopt;
    return NextParkStep();
  }
  SentStep sent;
  Step step;
  sent.frees = frees_.Take();
  step.free_sequence_ids = sent.frees.sequence_ids;
  for (const uint64_t id : step.free_sequence_ids) ReleaseKv(id);
  if (!sent.frees.is_retry) {
    AdmitWaiting(now);
    AddSlices(step, sent);
  }
  if (step.slices.empty() && step.free_sequence_ids.empty()) {
    return std::nullopt;
  }
  if (!sent.frees.is_retry) plans_.AddDropsTo(step);
  sent.drop_plan_ids = step.drop_plan_ids;
  return Send(std::move(step), std::move(sent));
}

TicketedStep Scheduler::Send(Step step, SentStep sent) {
  for (const NumberedPlan& plan : step.plans) {
    sent.plan_ids.push_back(plan.plan_id);
  }
  step.step_id = sent.step_id = ++last_step_id_;
  ++steps_total_;
  steps_.push_back(std::move(sent));
  return TicketedStep{.ticket = {group_, last_step_id_},
                      .step = std::move(step)};
}

void Scheduler::AdmitWaiting(absl::Time now) {
  bool only_forks = false;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (static_cast<int64_t>(running_.size()) == max_running_) return;
    const auto waiting = next++;
    if (only_forks && waiting->second.request.fork_from == 0) continue;
    if (AdmitOne(waiting->first, waiting->second, now)) {
      waiting_.erase(waiting);
    } else if (FitsBesidePrefixes(waiting->second)) {
      return;
    } else {
      only_forks = true;
    }
  }
}

bool Scheduler::AdmitOne(uint64_t id, WaitingRequest& waiting, absl::Time now) {
  if (!kv_.Fits(waiting.kv_bytes)) return false;
  const std::optional<uint64_t> plan_id = plans_.Acquire(waiting.request.plan);
  if (!plan_id.has_value()) return false;
  kv_.Reserve(id, std::move(waiting.kv_bytes));
  waiting.times.admitted = now;
  running_.emplace(id, Sequence(id, *plan_id, std::move(waiting)));
  return true;
}

bool Scheduler::FitsBesidePrefixes(const WaitingRequest& waiting) const {
  std::vector<int64_t> free = kv_.capacity();
  for (const uint64_t id : held_.ids()) {
    const std::vector<int64_t> bytes = kv_.Reserved(id);
    for (size_t rank = 0; rank < free.size(); ++rank) free[rank] -= bytes[rank];
  }
  for (size_t rank = 0; rank < free.size(); ++rank) {
    if (waiting.kv_bytes[rank] > free[rank]) return false;
  }
  return true;
}

int64_t Scheduler::ProbeBytes(const Sequence& sequence,
                              int64_t num_rows) const {
  return num_rows *
         ProbeBytesPerRow(sequence.request().probe,
                          options_.kv.num_layers * options_.kv.num_heads());
}

void Scheduler::AddSlices(Step& step, SentStep& sent) {
  int64_t room = options_.max_step_tokens;
  int64_t probe_room = kMaxProbeBytes;
  for (auto& [id, sequence] : running_) {
    if (!sequence.can_decode()) continue;
    const int64_t probe_bytes = ProbeBytes(sequence, 1);
    if (probe_bytes > probe_room) continue;  // the next step has room
    probe_room -= probe_bytes;
    --room;
    AddSlice(sequence.NextDecodeSlice(), step, sent);
  }
  AddPrompts(room, probe_room, step, sent);
}

void Scheduler::AddPrompts(int64_t room, int64_t probe_room, Step& step,
                           SentStep& sent) {
  for (auto& [id, sequence] : running_) {
    if (room == 0) break;
    if (!sequence.has_prompt_left()) continue;
    int64_t max_rows = std::min(room, options_.prefill_chunk);
    if (const int64_t row_bytes = ProbeBytes(sequence, 1); row_bytes > 0) {
      max_rows = std::min(max_rows, probe_room / row_bytes);
    }
    if (max_rows == 0) continue;
    if (sequence.is_new()) {
      if (step.forks.size() == static_cast<size_t>(kMaxForks)) break;
      plans_.AddTo(step, sequence.plan_id());
      if (const auto fork = sequence.FirstFork()) step.forks.push_back(*fork);
    }
    Slice slice = sequence.NextPrefillSlice(max_rows);
    room -= slice.num_rows();
    probe_room -= ProbeBytes(sequence, slice.num_rows());
    AddSlice(std::move(slice), step, sent);
  }
}

void Scheduler::AddSlice(Slice slice, Step& step, SentStep& sent) {
  sent.slices.push_back({.sequence_id = slice.sequence_id,
                         .first_position = slice.first_position,
                         .num_rows = slice.num_rows(),
                         .sample = slice.sample,
                         .score = !slice.score_targets.empty(),
                         .hash_logits = slice.hash_logits,
                         .embed = slice.embed,
                         .probe = !slice.probe.empty()});
  step.slices.push_back(std::move(slice));
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
  kv_.Release(sequence_id);
  if (const auto gone = held_.EndFork(sequence_id)) FreePrefix(*gone);
}

void Scheduler::FreePrefix(uint64_t id) {
  frees_.Add(id, /*known_to_workers=*/true, /*slices_in_flight=*/0);
}

void Scheduler::Hold(uint64_t id, absl::Time now) {
  const auto running = running_.find(id);
  const Sequence& sequence = running->second;
  held_.Add(id, {.length = sequence.prefix_len() + sequence.prompt_len(),
                 .plan = sequence.request().plan});
  plans_.Release(sequence.plan_id());  // workers keep a sequence's own
  EmitEnd(id, sequence.request().deadline, absl::OkStatus(),
          sequence.Usage(now));
  running_.erase(running);
}

void Scheduler::EmitEnd(uint64_t id, absl::Time deadline,
                        const absl::Status& status, const RequestUsage& usage) {
  deadlines_.erase({deadline, id});
  Emit({.kind = SchedulerEvent::Kind::kFinished,
        .request_id = id,
        .status = status,
        .usage = usage});
}

void Scheduler::End(uint64_t id, const absl::Status& status, absl::Time now) {
  if (const auto waiting = waiting_.find(id); waiting != waiting_.end()) {
    const WaitingRequest ended = std::move(waiting->second);
    waiting_.erase(waiting);
    ReleaseKv(id);
    EmitEnd(id, ended.request.deadline, status, UsageOf(ended, now));
  } else if (const auto running = running_.find(id);
             running != running_.end()) {
    const Sequence ended = std::move(running->second);
    running_.erase(running);
    plans_.Release(ended.plan_id());
    if (frees_.Add(id, ended.known_to_workers(), ended.slices_in_flight())) {
      ReleaseKv(id);
    }
    EmitEnd(id, ended.request().deadline, status, ended.Usage(now));
  }
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
  return waiting_.empty() && running_.empty() && parks_.empty() &&
         frees_.empty() && steps_unanswered() == 0;
}

absl::Time Scheduler::next_deadline() const {
  return deadlines_.empty() ? absl::InfiniteFuture()
                            : deadlines_.begin()->first;
}

EngineStats Scheduler::stats() const {
  return {.running = static_cast<int64_t>(running_.size()),
          .waiting = static_cast<int64_t>(waiting_.size()),
          .held = held_.num_held(),
          .parked = held_.num_parked(),
          .kv_bytes_used = kv_.used(),
          .kv_bytes_capacity = kv_.capacity(),
          .parked_bytes = held_.file_bytes(),
          .steps_total = steps_total_};
}

}  // namespace headwise
