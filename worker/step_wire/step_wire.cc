#include "worker/step_wire/step_wire.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/head_plan_codec.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

constexpr int kMaxSlices = 1 << 16;
constexpr size_t kDigestBytes = std::tuple_size_v<Sha256Digest>;
constexpr int kMaxCode = 16;  // of absl::StatusCode

absl::Status CheckCount(const char* what, int have, int limit) {
  if (have <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("step has ", have, " ", what, ", limit ", limit));
}

void WriteSampling(const SamplingOptions& sampling, worker::v1::Sampling* out) {
  out->set_temperature(sampling.temperature);
  out->set_top_k(sampling.top_k);
  out->set_top_p(sampling.top_p);
  out->set_min_p(sampling.min_p);
  out->set_repetition_penalty(sampling.repetition_penalty);
  out->set_seed(sampling.seed);
  out->set_top_logprobs(sampling.top_logprobs);
  out->set_logprobs(sampling.logprobs);
}

SamplingOptions ParseSampling(const worker::v1::Sampling& in) {
  SamplingOptions out;
  out.temperature = in.temperature();
  out.top_k = in.top_k();
  out.top_p = in.top_p();
  out.min_p = in.min_p();
  out.repetition_penalty = in.repetition_penalty();
  out.seed = in.seed();
  out.top_logprobs = in.top_logprobs();
  out.logprobs = in.logprobs();
  return out;
}

void WriteProbe(const ProbeRequest& probe, worker::v1::Probe* out) {
  out->set_argmax(probe.argmax);
  for (const std::vector<int64_t>& distances : probe.distance_sets) {
    out->add_distance_sets()->mutable_distances()->Add(distances.begin(),
                                                       distances.end());
  }
}

absl::StatusOr<ProbeRequest> ParseProbe(const worker::v1::Probe& in) {
  HEADWISE_RETURN_IF_ERROR(CheckCount(
      "distance_sets in a probe", in.distance_sets_size(), kMaxDistanceSets));
  ProbeRequest out;
  out.argmax = in.argmax();
  for (const worker::v1::DistanceSet& set : in.distance_sets()) {
    HEADWISE_RETURN_IF_ERROR(CheckCount(
        "distances in a set", set.distances_size(), kMaxDistancesPerSet));
    out.distance_sets.emplace_back(set.distances().begin(),
                                   set.distances().end());
  }
  return out;
}

absl::StatusOr<NumberedPlan> ParsePlan(const worker::v1::NumberedPlan& in) {
  absl::StatusOr<HeadPlan> plan = DecodeHeadPlan(in.plan());
  if (!plan.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan ", in.plan_id(), ": ", plan.status().message()));
  }
  return NumberedPlan{in.plan_id(),
                      std::make_shared<const HeadPlan>(*std::move(plan))};
}

void WriteFork(const Fork& fork, worker::v1::Fork* out) {
  out->set_sequence_id(fork.sequence_id);
  out->set_from_sequence_id(fork.from_sequence_id);
  out->set_length(fork.length);
  out->set_plan_id(fork.plan_id);
  out->set_prompt_len(fork.prompt_len);
}

Fork ParseFork(const worker::v1::Fork& in) {
  return {.sequence_id = in.sequence_id(),
          .from_sequence_id = in.from_sequence_id(),
          .length = in.length(),
          .plan_id = in.plan_id(),
          .prompt_len = in.prompt_len()};
}

void WriteSlice(const Slice& slice, worker::v1::Slice* out) {
  out->set_sequence_id(slice.sequence_id);
  out->set_first_position(slice.first_position);
  out->mutable_tokens()->Add(slice.tokens.begin(), slice.tokens.end());
  out->set_use_last_sample(slice.use_last_sample);
  out->set_sample(slice.sample);
  if (slice.sample) WriteSampling(slice.sampling, out->mutable_sampling());
  out->mutable_score_targets()->Add(slice.score_targets.begin(),
                                    slice.score_targets.end());
  out->set_hash_logits(slice.hash_logits);
  out->set_embed(slice.embed);
  out->set_plan_id(slice.plan_id);
  out->set_prompt_len(slice.prompt_len);
  out->set_contrast_plan_id(slice.contrast_plan_id);
  if (!slice.probe.empty()) WriteProbe(slice.probe, out->mutable_probe());
}

absl::StatusOr<Slice> ParseSlice(const worker::v1::Slice& in) {
  Slice out;
  out.sequence_id = in.sequence_id();
  out.first_position = in.first_position();
  out.tokens.assign(in.tokens().begin(), in.tokens().end());
  out.use_last_sample = in.use_last_sample();
  out.sample = in.sample();
  if (in.has_sampling()) out.sampling = ParseSampling(in.sampling());
  out.score_targets.assign(in.score_targets().begin(),
                           in.score_targets().end());
  out.hash_logits = in.hash_logits();
  out.embed = in.embed();
  out.plan_id = in.plan_id();
  out.prompt_len = in.prompt_len();
  out.contrast_plan_id = in.contrast_plan_id();
  HEADWISE_ASSIGN_OR_RETURN(out.probe, ParseProbe(in.probe()));
  return out;
}

void WriteHeadProbe(const HeadProbe& probe, worker::v1::HeadProbe* out) {
  out->set_layer(probe.layer);
  out->set_head(probe.head);
  out->mutable_argmax()->Add(probe.argmax.begin(), probe.argmax.end());
  out->mutable_argmax_prob()->Add(probe.argmax_prob.begin(),
                                  probe.argmax_prob.end());
  out->mutable_distance_probs()->Add(probe.distance_probs.begin(),
                                     probe.distance_probs.end());
}

HeadProbe ParseHeadProbe(const worker::v1::HeadProbe& in) {
  HeadProbe out;
  out.layer = in.layer();
  out.head = in.head();
  out.argmax.assign(in.argmax().begin(), in.argmax().end());
  out.argmax_prob.assign(in.argmax_prob().begin(), in.argmax_prob().end());
  out.distance_probs.assign(in.distance_probs().begin(),
                            in.distance_probs().end());
  return out;
}

void WriteResult(const SliceResult& result, worker::v1::SliceResult* out) {
  out->set_sequence_id(result.sequence_id);
  out->set_has_token(result.has_token);
  out->set_token(result.token);
  out->set_logprob(result.logprob);
  for (const RankedToken& top : result.top) {
    worker::v1::RankedToken* wire = out->add_top();
    wire->set_token(top.token);
    wire->set_logprob(top.logprob);
  }
  out->mutable_score_logprobs()->Add(result.score_logprobs.begin(),
                                     result.score_logprobs.end());
  out->mutable_contrast_logprobs()->Add(result.contrast_logprobs.begin(),
                                        result.contrast_logprobs.end());
  std::string* digests = out->mutable_logits_digests();
  for (const Sha256Digest& digest : result.logits_digests) {
    digests->append(digest.begin(), digest.end());
  }
  out->mutable_hidden()->Add(result.hidden.begin(), result.hidden.end());
  for (const HeadProbe& probe : result.probes) {
    WriteHeadProbe(probe, out->add_probes());
  }
}

absl::StatusOr<SliceResult> ParseResult(const worker::v1::SliceResult& in) {
  SliceResult out;
  out.sequence_id = in.sequence_id();
  out.has_token = in.has_token();
  out.token = in.token();
  out.logprob = in.logprob();
  for (const worker::v1::RankedToken& top : in.top()) {
    out.top.push_back({top.token(), top.logprob()});
  }
  out.score_logprobs.assign(in.score_logprobs().begin(),
                            in.score_logprobs().end());
  out.contrast_logprobs.assign(in.contrast_logprobs().begin(),
                               in.contrast_logprobs().end());
  const std::string& digests = in.logits_digests();
  if (digests.size() % kDigestBytes != 0) {
    return absl::InternalError(
        absl::StrCat("logits_digests has ", digests.size(),
                     " bytes, not a multiple of ", kDigestBytes));
  }
  out.logits_digests.resize(digests.size() / kDigestBytes);
  for (size_t row = 0; row < out.logits_digests.size(); ++row) {
    std::copy_n(digests.begin() + row * kDigestBytes, kDigestBytes,
                out.logits_digests[row].begin());
  }
  out.hidden.assign(in.hidden().begin(), in.hidden().end());
  for (const worker::v1::HeadProbe& probe : in.probes()) {
    out.probes.push_back(ParseHeadProbe(probe));
  }
  return out;
}

// In order of worker.v1.ParkAction, whose first value is no action.
static_assert(worker::v1::ParkAction_MAX == kNumParkActions);

absl::StatusOr<ParkRequest> ParsePark(const worker::v1::ParkRequest& in) {
  if (in.action() < 1 || in.action() > kNumParkActions) {
    return absl::InvalidArgumentError(absl::StrCat(
        "park of sequence ", in.sequence_id(), ": action is ",
        static_cast<int>(in.action()), ", allowed 1 to ", kNumParkActions));
  }
  return ParkRequest{.sequence_id = in.sequence_id(),
                     .action = static_cast<ParkAction>(in.action() - 1),
                     .plan_id = in.plan_id()};
}

void WritePark(const ParkRequest& park, worker::v1::ParkRequest* out) {
  out->set_sequence_id(park.sequence_id);
  out->set_action(
      static_cast<worker::v1::ParkAction>(static_cast<int>(park.action) + 1));
  out->set_plan_id(park.plan_id);
}

void WriteParkOutcome(const ParkOutcome& outcome,
                      worker::v1::ParkOutcome* out) {
  out->set_status_code(static_cast<int>(outcome.status.code()));
  out->set_status_message(
      std::string(outcome.status.message().substr(0, kMaxStatusBytes)));
  out->set_bytes(outcome.bytes);
}

absl::StatusOr<ParkOutcome> ParseParkOutcome(
    const worker::v1::ParkOutcome& in) {
  if (in.status_code() < 0 || in.status_code() > kMaxCode) {
    return absl::InternalError(absl::StrCat("status_code of a park is ",
                                            in.status_code(), ", allowed 0 to ",
                                            kMaxCode));
  }
  return ParkOutcome{
      .status = absl::Status(static_cast<absl::StatusCode>(in.status_code()),
                             in.status_message().substr(0, kMaxStatusBytes)),
      .bytes = std::clamp(in.bytes(), int64_t{0}, int64_t{1} << 50)};
}

double SaneSeconds(double seconds) {
  if (!std::isfinite(seconds)) return 0.0;
  return std::clamp(seconds, 0.0, 3600.0);
}

int64_t SaneCount(int64_t count) {
  return std::clamp(count, int64_t{0}, int64_t{1} << 40);
}

}  // namespace

void WriteStep(uint64_t membership_epoch, const Step& step,
               worker::v1::StepRequest* out) {
  out->set_membership_epoch(membership_epoch);
  out->set_step_id(step.step_id);
  for (const Slice& slice : step.slices) WriteSlice(slice, out->add_slices());
  out->mutable_free_sequence_ids()->Add(step.free_sequence_ids.begin(),
                                        step.free_sequence_ids.end());
  for (const NumberedPlan& plan : step.plans) {
    worker::v1::NumberedPlan* wire = out->add_plans();
    wire->set_plan_id(plan.plan_id);
    wire->set_plan(EncodeHeadPlan(*plan.plan));
  }
  out->mutable_drop_plan_ids()->Add(step.drop_plan_ids.begin(),
                                    step.drop_plan_ids.end());
  for (const Fork& fork : step.forks) WriteFork(fork, out->add_forks());
  for (const ParkRequest& park : step.parks) WritePark(park, out->add_parks());
  WriteChecksum(out);
}

absl::StatusOr<Step> ParseStep(const worker::v1::StepRequest& request) {
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("slices", request.slices_size(), kMaxSlices));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("plans", request.plans_size(), kMaxPlans));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("drop_plan_ids", request.drop_plan_ids_size(), kMaxPlans));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("forks", request.forks_size(), kMaxForks));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("parks", request.parks_size(), kMaxParks));
  Step step;
  step.step_id = request.step_id();
  step.slices.reserve(request.slices_size());
  for (const worker::v1::Slice& in : request.slices()) {
    HEADWISE_ASSIGN_OR_RETURN(Slice slice, ParseSlice(in));
    step.slices.push_back(std::move(slice));
  }
  step.free_sequence_ids.assign(request.free_sequence_ids().begin(),
                                request.free_sequence_ids().end());
  for (const worker::v1::NumberedPlan& in : request.plans()) {
    HEADWISE_ASSIGN_OR_RETURN(NumberedPlan plan, ParsePlan(in));
    step.plans.push_back(std::move(plan));
  }
  step.drop_plan_ids.assign(request.drop_plan_ids().begin(),
                            request.drop_plan_ids().end());
  for (const worker::v1::Fork& fork : request.forks()) {
    step.forks.push_back(ParseFork(fork));
  }
  for (const worker::v1::ParkRequest& in : request.parks()) {
    HEADWISE_ASSIGN_OR_RETURN(ParkRequest park, ParsePark(in));
    step.parks.push_back(park);
  }
  return step;
}

void WriteStepAnswer(const StepAnswer& answer, worker::v1::StepResponse* out) {
  out->set_membership_epoch(answer.membership_epoch);
  out->set_step_id(answer.step_id);
  const absl::Status& status = answer.result.status();
  out->set_status_code(static_cast<int>(status.code()));
  if (!status.ok()) {
    out->set_status_message(
        std::string(status.message().substr(0, kMaxStatusBytes)));
    WriteChecksum(out);
    return;
  }
  const StepResult& result = *answer.result;
  for (const SliceResult& slice : result.results) {
    WriteResult(slice, out->add_results());
  }
  for (const ParkOutcome& outcome : result.parks) {
    WriteParkOutcome(outcome, out->add_parks());
  }
  out->set_compute_seconds(result.compute_seconds);
  out->set_collective_seconds(result.collective_seconds);
  out->set_wait_seconds(result.wait_seconds);
  out->set_draws_digest(result.draws_digest);
  out->set_collective_bytes(result.collective_bytes);
  out->set_num_collectives(result.num_collectives);
  WriteChecksum(out);
}

absl::StatusOr<StepAnswer> ParseStepAnswer(
    const worker::v1::StepResponse& response) {
  StepAnswer answer;
  answer.membership_epoch = response.membership_epoch();
  answer.step_id = response.step_id();
  const int code = response.status_code();
  if (code < 0 || code > kMaxCode) {
    return absl::InternalError(
        absl::StrCat("status_code ", code, ", allowed 0 to ", kMaxCode));
  }
  if (code != 0) {
    answer.result =
        absl::Status(static_cast<absl::StatusCode>(code),
                     response.status_message().substr(0, kMaxStatusBytes));
    return answer;
  }
  StepResult result;
  result.step_id = response.step_id();
  for (const worker::v1::SliceResult& slice : response.results()) {
    HEADWISE_ASSIGN_OR_RETURN(SliceResult parsed, ParseResult(slice));
    result.results.push_back(std::move(parsed));
  }
  for (const worker::v1::ParkOutcome& in : response.parks()) {
    HEADWISE_ASSIGN_OR_RETURN(ParkOutcome outcome, ParseParkOutcome(in));
    result.parks.push_back(std::move(outcome));
  }
  result.compute_seconds = SaneSeconds(response.compute_seconds());
  result.collective_seconds = SaneSeconds(response.collective_seconds());
  if (response.wait_seconds() >= 0) {
    result.wait_seconds = std::min(SaneSeconds(response.wait_seconds()),
                                   result.collective_seconds);
  }
  result.draws_digest = response.draws_digest();
  result.collective_bytes = SaneCount(response.collective_bytes());
  result.num_collectives = SaneCount(response.num_collectives());
  answer.result = std::move(result);
  return answer;
}

}  // namespace headwise
