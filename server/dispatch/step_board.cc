#include "server/dispatch/step_board.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/step/step_errors.h"

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

std::vector<RankTiming> TimingsOf(const std::vector<StepResult>& measured) {
  double shortest = std::numeric_limits<double>::infinity();
  for (const StepResult& rank : measured) {
    shortest = std::min(shortest, rank.collective_seconds);
  }
  std::vector<RankTiming> timings;
  for (const StepResult& rank : measured) {
    const double wait = rank.wait_seconds < 0
                            ? rank.collective_seconds - shortest
                            : rank.wait_seconds;
    timings.push_back({.compute_seconds = rank.compute_seconds,
                       .wait_seconds = wait,
                       .transfer_seconds = rank.collective_seconds - wait,
                       .collective_bytes = rank.collective_bytes,
                       .num_collectives = rank.num_collectives});
  }
  return timings;
}

Verdict Wrong(absl::Status status) {
  return {std::move(status), Verdict::Fault::kWrong};
}

}  // namespace

StepBoard::StepBoard(size_t num_ranks, const ResultLimits& limits)
    : limits_(limits), num_answered_(num_ranks, 0) {
  HEADWISE_CHECK(num_ranks > 0);
}

void StepBoard::Add(std::shared_ptr<const Step> step, StepDone done) {
  InFlight in_flight;
  in_flight.step = std::move(step);
  in_flight.done = std::move(done);
  const std::vector<Slice>& slices = in_flight.step->slices;
  const bool probes = std::any_of(slices.begin(), slices.end(),
                                  [](auto& s) { return !s.probe.empty(); });
  if (probes) in_flight.probes.resize(slices.size());
  in_flight.measured.resize(num_answered_.size());
  steps_.push_back(std::move(in_flight));
}

Verdict StepBoard::TakeAnswer(size_t rank, StepAnswer* answer) {
  HEADWISE_CHECK(rank < num_answered_.size());
  if (num_answered_[rank] >= steps_.size()) {
    return Wrong(absl::InternalError(
        absl::StrCat("rank ", rank, " answered step ", answer->step_id,
                     ", which it was not asked for")));
  }
  InFlight& asked = steps_[num_answered_[rank]];
  if (answer->step_id != asked.step->step_id) {
    return Wrong(absl::InternalError(
        absl::StrCat("rank ", rank, " answered step ", answer->step_id,
                     ", expected step ", asked.step->step_id)));
  }
  const absl::Status& status = answer->result.status();
  if (!LeavesGroupUsable(status)) return JudgeStatus(rank, *answer);
  if (asked.num_answers > 0 && asked.status.code() != status.code()) {
    return {absl::InternalError(absl::StrCat(
        "ranks disagree on step ", answer->step_id, ": rank ", rank, " says ",
        status.ToString(), ", another said ", asked.status.ToString()))};
  }
  if (status.ok()) {
    absl::Status taken = TakeResult(rank, *std::move(answer->result), &asked);
    if (!taken.ok()) return Wrong(std::move(taken));
  }
  if (asked.num_answers == 0) asked.status = status;
  ++asked.num_answers;
  ++num_answered_[rank];
  // Which rank left a head out, nobody can tell.
  if (asked.num_answers < num_answered_.size() || !asked.status.ok()) return {};
  Verdict verdict = CompareDraws(asked);
  if (!verdict.status.ok()) return verdict;
  return {JoinProbes(&asked)};
}

// Of two ranks that differ nobody can tell which is right.
Verdict StepBoard::CompareDraws(const InFlight& asked) const {
  const size_t num_ranks = asked.measured.size();
  const auto num_like = [&asked](size_t rank) {
    const uint64_t digest = asked.measured[rank].draws_digest;
    return static_cast<size_t>(std::count_if(
        asked.measured.begin(), asked.measured.end(),
        [digest](const StepResult& r) { return r.draws_digest == digest; }));
  };
  if (num_like(0) == num_ranks) return {};
  std::optional<size_t> odd;
  bool has_majority = false;
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    if (2 * num_like(rank) > num_ranks) {
      has_majority = true;
    } else if (!odd.has_value()) {
      odd = rank;
    }
  }
  const std::string in_step = absl::StrCat(" in step ", asked.step->step_id);
  if (!has_majority) {
    return {absl::InternalError("ranks drew or scored differently" + in_step)};
  }
  Verdict verdict = Wrong(absl::InternalError(absl::StrCat(
      "rank ", *odd, " drew or scored other than most ranks", in_step)));
  verdict.rank = odd;
  return verdict;
}

absl::Status StepBoard::TakeResult(size_t rank, StepResult result,
                                   InFlight* asked) const {
  StepResult& measured = asked->measured[rank];
  measured.compute_seconds = result.compute_seconds;
  measured.collective_seconds = result.collective_seconds;
  measured.wait_seconds = result.wait_seconds;
  measured.collective_bytes = result.collective_bytes;
  measured.num_collectives = result.num_collectives;
  measured.draws_digest = result.draws_digest;
  if (rank == 0) HEADWISE_RETURN_IF_ERROR(CheckResult(*asked->step, result));
  if (!asked->probes.empty()) {
    HEADWISE_RETURN_IF_ERROR(TakeProbes(rank, &result.results, asked));
  }
  HEADWISE_RETURN_IF_ERROR(TakeParks(rank, std::move(result.parks), asked));
  if (rank != 0) return absl::OkStatus();
  asked->result.step_id = asked->step->step_id;
  asked->result.results = std::move(result.results);
  return absl::OkStatus();
}

// A sequence is parked once all ranks have parked their part of it.
absl::Status StepBoard::TakeParks(size_t rank,
                                  std::vector<ParkOutcome> outcomes,
                                  InFlight* asked) const {
  const size_t num_ranks = num_answered_.size();
  const size_t num_parks = asked->step->parks.size();
  if (outcomes.size() != num_parks) {
    return absl::InternalError(
        absl::StrCat("rank ", rank, " returned ", outcomes.size(),
                     " outcomes of parks, expected ", num_parks));
  }
  std::vector<ParkOutcome>& joint = asked->result.parks;
  joint.resize(num_parks);
  for (size_t i = 0; i < num_parks; ++i) {
    joint[i].bytes += outcomes[i].bytes;
    joint[i].rank_bytes.resize(num_ranks);
    joint[i].rank_bytes[rank] = outcomes[i].bytes;
    const absl::Status& status = outcomes[i].status;
    if (status.ok() || !joint[i].status.ok()) continue;
    joint[i].status = absl::Status(
        status.code(), absl::StrCat("rank ", rank, ": ", status.message()));
  }
  return absl::OkStatus();
}

// The step asks for probes, so every rank returns those of its heads.
absl::Status StepBoard::TakeProbes(size_t rank,
                                   std::vector<SliceResult>* results,
                                   InFlight* asked) const {
  const std::vector<Slice>& slices = asked->step->slices;
  if (rank != 0 && results->empty()) return absl::OkStatus();  // has no head
  if (results->size() != slices.size()) {
    return absl::InternalError(
        absl::StrCat("rank ", rank, " returned ", results->size(),
                     " slices with probes, expected ", slices.size()));
  }
  for (size_t i = 0; i < slices.size(); ++i) {
    std::vector<HeadProbe>& probes = (*results)[i].probes;
    const absl::Status checked = CheckProbes(slices[i], probes, limits_.probes);
    if (!checked.ok()) {
      return absl::InternalError(
          absl::StrCat("rank ", rank, ": ", checked.message()));
    }
    std::move(probes.begin(), probes.end(),
              std::back_inserter(asked->probes[i]));
    probes.clear();
  }
  return absl::OkStatus();
}

absl::Status StepBoard::JoinProbes(InFlight* asked) const {
  for (size_t i = 0; i < asked->probes.size(); ++i) {
    if (asked->step->slices[i].probe.empty()) continue;
    HEADWISE_RETURN_IF_ERROR(OrderProbes(limits_.probes, &asked->probes[i]));
    asked->result.results[i].probes = std::move(asked->probes[i]);
  }
  return absl::OkStatus();
}

// A peer's death or end reads as one of the first four codes, so the others are
// the rank's own. DataLoss is the link's word for an unreadable answer.
Verdict StepBoard::JudgeStatus(size_t rank, const StepAnswer& answer) const {
  const absl::Status& status = answer.result.status();
  Verdict verdict;
  verdict.status = absl::Status(
      status.code(), absl::StrCat("rank ", rank, " failed in step ",
                                  answer.step_id, ": ", status.message()));
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      for (const int late : LateRanks(status)) {
        if (late < 0 || static_cast<size_t>(late) >= num_answered_.size()) {
          continue;
        }
        verdict.late.push_back(static_cast<size_t>(late));
      }
      break;
    case absl::StatusCode::kUnavailable:
      if (const auto other = RankOfChangedWeights(status);
          other.has_value() && *other >= 0 &&
          static_cast<size_t>(*other) < num_answered_.size()) {
        verdict.fault = Verdict::Fault::kWrong;
        verdict.rank = static_cast<size_t>(*other);
      }
      break;
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
  std::vector<RankTiming> timings = TimingsOf(step.measured);
  if (!step.status.ok()) {
    return Completed{std::move(step.done), step.status, std::move(timings)};
  }
  return Completed{std::move(step.done), std::move(step.result),
                   std::move(timings)};
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
  for (const InFlight& in_flight : steps_) {
    for (const Slice& slice : in_flight.step->slices) rows += slice.num_rows();
  }
  return rows;
}

int64_t StepBoard::num_parks() const {
  int64_t parks = 0;
  for (const InFlight& in_flight : steps_) {
    parks += static_cast<int64_t>(in_flight.step->parks.size());
  }
  return parks;
}

absl::Status StepBoard::CheckResult(const Step& step,
                                    const StepResult& result) const {
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("slices", result.results.size(), step.slices.size()));
  for (size_t i = 0; i < step.slices.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(CheckSlice(step.slices[i], result.results[i]));
  }
  return absl::OkStatus();
}

absl::Status StepBoard::CheckSlice(const Slice& slice,
                                   const SliceResult& result) const {
  if (result.sequence_id != slice.sequence_id) {
    return absl::InternalError(absl::StrCat("rank 0 returned sequence ",
                                            result.sequence_id, ", expected ",
                                            slice.sequence_id));
  }
  if (result.has_token != slice.sample) {
    return absl::InternalError(
        absl::StrCat("rank 0 returned ", result.has_token ? "a" : "no",
                     " token for sequence ", slice.sequence_id, ", asked for ",
                     slice.sample ? "one" : "none"));
  }
  if (result.has_token) HEADWISE_RETURN_IF_ERROR(CheckToken(result.token));
  HEADWISE_RETURN_IF_ERROR(CheckFinite("logprob", {&result.logprob, 1}));
  if (result.top.size() > static_cast<size_t>(slice.sampling.top_logprobs)) {
    return absl::InternalError(
        absl::StrCat("rank 0 returned ", result.top.size(),
                     " alternatives, limit ", slice.sampling.top_logprobs));
  }
  for (const RankedToken& top : result.top) {
    HEADWISE_RETURN_IF_ERROR(CheckToken(top.token));
    HEADWISE_RETURN_IF_ERROR(CheckFinite("alternative", {&top.logprob, 1}));
  }
  if (slice.probe.empty()) {
    HEADWISE_RETURN_IF_ERROR(CheckCount("probes", result.probes.size(), 0));
  }
  const auto rows = static_cast<size_t>(slice.num_rows());
  HEADWISE_RETURN_IF_ERROR(CheckCount("scores", result.score_logprobs.size(),
                                      slice.score_targets.empty() ? 0 : rows));
  const bool contrasts =
      slice.contrast_plan_id != 0 && !slice.score_targets.empty();
  HEADWISE_RETURN_IF_ERROR(CheckCount("contrast scores",
                                      result.contrast_logprobs.size(),
                                      contrasts ? rows : 0));
  HEADWISE_RETURN_IF_ERROR(CheckCount("digests", result.logits_digests.size(),
                                      slice.hash_logits ? rows : 0));
  HEADWISE_RETURN_IF_ERROR(CheckCount(
      "hidden values", result.hidden.size(),
      slice.embed ? rows * static_cast<size_t>(limits_.model_dim) : 0));
  HEADWISE_RETURN_IF_ERROR(CheckFinite("score", result.score_logprobs));
  HEADWISE_RETURN_IF_ERROR(
      CheckFinite("contrast score", result.contrast_logprobs));
  return CheckFinite("hidden value", result.hidden);
}

absl::Status StepBoard::CheckToken(int32_t token) const {
  if (token >= 0 && token < limits_.vocab_size) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("rank 0 returned token ", token,
                                          ", the vocabulary has ",
                                          limits_.vocab_size));
}

}  // namespace headwise
