#include "server/dispatch/step_board.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// The executor's promise: nothing was changed on any rank, or no more than the
// step's own sequences.
bool LeavesGroupUsable(const absl::Status& status) {
  return status.ok() || absl::IsInvalidArgument(status) ||
         absl::IsResourceExhausted(status) || absl::IsOutOfRange(status);
}

// Slices and alternatives that a worker may return are those asked for.
absl::Status CheckCount(const char* what, size_t have, size_t want) {
  if (have == want) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("rank 0 returned ", have, " ", what, ", expected ", want));
}

absl::Status CheckFinite(const char* what, absl::Span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InternalError(absl::StrCat("rank 0 returned ", what, " ", i,
                                            " as ", values[i],
                                            ", must be finite"));
  }
  return absl::OkStatus();
}

Verdict Wrong(absl::Status status) {
  return {std::move(status), Verdict::Fault::kWrong};
}

}  // namespace

StepBoard::StepBoard(size_t num_ranks, const OutcomeLimits& limits)
    : limits_(limits), num_answered_(num_ranks, 0) {
  HEADWISE_CHECK(num_ranks > 0);
}

void StepBoard::Add(std::shared_ptr<const StepPlan> plan, StepDone done) {
  InFlight step;
  step.plan = std::move(plan);
  step.done = std::move(done);
  steps_.push_back(std::move(step));
}

Verdict StepBoard::TakeAnswer(size_t rank, RankStepResult* result) {
  HEADWISE_CHECK(rank < num_answered_.size());
  if (num_answered_[rank] >= steps_.size()) {
    return Wrong(absl::InternalError(
        absl::StrCat("rank ", rank, " answered step ", result->step_id,
                     ", which it was not asked for")));
  }
  InFlight& step = steps_[num_answered_[rank]];
  if (result->step_id != step.plan->step_id) {
    return Wrong(absl::InternalError(
        absl::StrCat("rank ", rank, " answered step ", result->step_id,
                     ", expected step ", step.plan->step_id)));
  }
  if (!LeavesGroupUsable(result->status)) return JudgeStatus(rank, *result);
  if (step.num_answers > 0 && step.status.code() != result->status.code()) {
    return {absl::InternalError(absl::StrCat(
        "ranks disagree on step ", result->step_id, ": rank ", rank, " says ",
        result->status.ToString(), ", another said ", step.status.ToString()))};
  }
  if (rank == 0 && result->status.ok()) {
    absl::Status checked = CheckOutcome(*step.plan, *result);
    if (!checked.ok()) return Wrong(std::move(checked));
    step.outcome.step_id = result->step_id;
    step.outcome.slices = std::move(result->slices);
  }
  if (step.num_answers == 0) step.status = result->status;
  ++step.num_answers;
  ++num_answered_[rank];
  return {};
}

// A peer's death or end reads as one of the first four codes, so the others are
// the rank's own. DataLoss is the link's word for an unreadable answer.
Verdict StepBoard::JudgeStatus(size_t rank,
                               const RankStepResult& result) const {
  Verdict verdict;
  verdict.status =
      absl::Status(result.status.code(),
                   absl::StrCat("rank ", rank, " failed in step ",
                                result.step_id, ": ", result.status.message()));
  switch (result.status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      break;
    case absl::StatusCode::kDataLoss:
      verdict.fault = Verdict::Fault::kWrong;
      break;
    default:
      verdict.fault = Verdict::Fault::kFailed;
  }
  return verdict;
}

std::optional<StepBoard::Completed> StepBoard::PopCompleted() {
  if (steps_.empty() || steps_.front().num_answers < num_answered_.size()) {
    return std::nullopt;
  }
  InFlight step = std::move(steps_.front());
  steps_.pop_front();
  for (size_t& count : num_answered_) --count;
  if (!step.status.ok()) return Completed{std::move(step.done), step.status};
  return Completed{std::move(step.done), std::move(step.outcome)};
}

std::vector<StepDone> StepBoard::Clear() {
  std::vector<StepDone> callbacks;
  for (InFlight& step : steps_) callbacks.push_back(std::move(step.done));
  steps_.clear();
  std::fill(num_answered_.begin(), num_answered_.end(), 0);
  return callbacks;
}

int64_t StepBoard::num_rows() const {
  int64_t rows = 0;
  for (const InFlight& step : steps_) {
    for (const SlicePlan& slice : step.plan->slices) rows += slice.num_rows();
  }
  return rows;
}

absl::Status StepBoard::CheckOutcome(const StepPlan& plan,
                                     const RankStepResult& result) const {
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("slices", result.slices.size(), plan.slices.size()));
  for (size_t i = 0; i < plan.slices.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(CheckSlice(plan.slices[i], result.slices[i]));
  }
  return absl::OkStatus();
}

absl::Status StepBoard::CheckSlice(const SlicePlan& plan,
                                   const SliceOutcome& outcome) const {
  if (outcome.sequence_id != plan.sequence_id) {
    return absl::InternalError(absl::StrCat("rank 0 returned sequence ",
                                            outcome.sequence_id, ", expected ",
                                            plan.sequence_id));
  }
  if (outcome.has_token != plan.sample) {
    return absl::InternalError(
        absl::StrCat("rank 0 returned ", outcome.has_token ? "a" : "no",
                     " token for sequence ", plan.sequence_id, ", asked for ",
                     plan.sample ? "one" : "none"));
  }
  if (outcome.has_token) HEADWISE_RETURN_IF_ERROR(CheckToken(outcome.token));
  HEADWISE_RETURN_IF_ERROR(CheckFinite("logprob", {&outcome.logprob, 1}));
  if (outcome.top.size() > static_cast<size_t>(plan.sampling.top_logprobs)) {
    return absl::InternalError(
        absl::StrCat("rank 0 returned ", outcome.top.size(),
                     " alternatives, limit ", plan.sampling.top_logprobs));
  }
  for (const RankedTokenResult& top : outcome.top) {
    HEADWISE_RETURN_IF_ERROR(CheckToken(top.token));
    HEADWISE_RETURN_IF_ERROR(CheckFinite("alternative", {&top.logprob, 1}));
  }
  const auto rows = static_cast<size_t>(plan.num_rows());
  HEADWISE_RETURN_IF_ERROR(CheckCount("scores", outcome.score_logprobs.size(),
                                      plan.score_targets.empty() ? 0 : rows));
  HEADWISE_RETURN_IF_ERROR(CheckCount("digests", outcome.logits_digests.size(),
                                      plan.hash_logits ? rows : 0));
  HEADWISE_RETURN_IF_ERROR(CheckCount(
      "hidden values", outcome.hidden.size(),
      plan.embed ? rows * static_cast<size_t>(limits_.model_dim) : 0));
  HEADWISE_RETURN_IF_ERROR(CheckFinite("score", outcome.score_logprobs));
  return CheckFinite("hidden value", outcome.hidden);
}

absl::Status StepBoard::CheckToken(int32_t token) const {
  if (token >= 0 && token < limits_.vocab_size) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("rank 0 returned token ", token,
                                          ", the vocabulary has ",
                                          limits_.vocab_size));
}

}  // namespace headwise
