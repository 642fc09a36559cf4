// The half of the scheduler that hears what became of its steps.

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/scheduler/scheduler.h"
#include "worker/step/step_errors.h"

namespace headwise {

bool Scheduler::ApplyOutcome(absl::Time now) {
  if (steps_.empty() || !steps_.front().outcome.has_value()) return false;
  SentStep step = std::move(steps_.front());
  steps_.pop_front();
  MeasureStep(step, now);
  absl::StatusOr<StepResult>& outcome = *step.outcome;
  if (step.park_id != 0) ApplyPark(step.park_id, outcome);
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
    const absl::Status told =
        IsMemoryBlewUp(status) ? status : absl::InternalError(status.message());
    for (const SentSlice& slice : step.slices) {
      OnSliceDone(slice.sequence_id, /*ran=*/true);
    }
    for (const SentSlice& slice : step.slices) {
      End(slice.sequence_id, told, now);
    }
    return true;
  }
  // Any other error leaves the workers in a state that we do not know. The
  // step's requests hear what it was, the rest goes on in another group.
  if (!absl::IsUnavailable(status)) FailStep(step, status, now);
  Suspend(status, GroupEnd::kLost, now);
  return true;
}

void Scheduler::FailStep(const SentStep& step, const absl::Status& status,
                         absl::Time now) {
  frees_.OnStepFailed(step.frees);
  plans_.OnStepFailed(step.plan_ids, step.drop_plan_ids);
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
         outcome.contrast_logprobs.size() == (sent.contrast ? num_rows : 0) &&
         outcome.logits_digests.size() == (sent.hash_logits ? num_rows : 0) &&
         outcome.probes.empty() != sent.probe &&
         outcome.hidden.empty() != sent.embed &&
         outcome.hidden.size() % num_rows == 0;
}

void Scheduler::ApplyResult(const SentSlice& sent, SliceResult outcome,
                            absl::Time now) {
  Sequence& sequence = running_.at(sent.sequence_id);
  const uint64_t id = sequence.id();
  if (sent.is_replay) {
    if (sequence.OnReplayedRows(sent.num_rows, now)) Hold(id, now);
    return;
  }
  const bool is_prefill =
      sent.first_position < sequence.prefix_len() + sequence.prompt_len();
  if (is_prefill) {
    sequence.OnPromptRowsDone(sent.num_rows, now);
    Emit({.kind = SchedulerEvent::Kind::kPrefill,
          .request_id = id,
          .first = sequence.done_prompt_rows(),
          .total = sequence.prompt_len()});
  }
  const WorkKind kind = sequence.request().kind;
  bool is_last = false;
  if (kind == WorkKind::kScore || kind == WorkKind::kEmbed) {
    EmitRows(sequence, sent, std::move(outcome));
  } else if (is_prefill && sent.probe) {
    EmitRows(sequence, sent,
             {.sequence_id = id, .probes = std::move(outcome.probes)});
    outcome.probes.clear();
  }
  if (kind != WorkKind::kGenerate) {
    is_last = sequence.done_prompt_rows() == sequence.prompt_len();
  } else if (sent.sample) {
    is_last = sequence.OnToken(outcome.token);
    const std::string& tenant = sequence.request().tenant;
    buckets_.Take(tenant, options_.quotas.Of(tenant), 1, now);
    Emit({.kind = SchedulerEvent::Kind::kToken,
          .request_id = id,
          .outcome = std::move(outcome)});
  }
  if (!is_last) return;
  if (kind == WorkKind::kPrefix) {
    Hold(id, now);
  } else {
    End(id, absl::OkStatus(), now);
  }
}

void Scheduler::EmitRows(const Sequence& sequence, const SentSlice& sent,
                         SliceResult outcome) {
  Emit({.kind = SchedulerEvent::Kind::kRows,
        .request_id = sequence.id(),
        .first = sent.first_position,
        .outcome = std::move(outcome)});
}

void Scheduler::OnSliceDone(uint64_t sequence_id, bool ran) {
  const auto found = running_.find(sequence_id);
  if (found != running_.end()) {
    found->second.OnSliceDone(ran);
  } else if (frees_.OnSlice(sequence_id, ran)) {
    ReleaseKv(sequence_id);
  }
}

}  // namespace headwise
