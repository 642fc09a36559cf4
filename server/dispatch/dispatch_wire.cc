#include "server/dispatch/dispatch_wire.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr size_t kDigestBytes = 32;  // SHA-256
constexpr size_t kMaxStatusBytes = 4096;
constexpr size_t kMaxEndpointBytes = 64 << 10;
constexpr int kMaxCode = 16;  // of absl::StatusCode

worker::v1::GroupKind ToWire(GroupChoice choice) {
  switch (choice) {
    case GroupChoice::kInProcess:
      return worker::v1::GROUP_KIND_IN_PROCESS;
    case GroupChoice::kSharedMemory:
      return worker::v1::GROUP_KIND_SHARED_MEMORY;
    case GroupChoice::kGloo:
      return worker::v1::GROUP_KIND_GLOO;
    case GroupChoice::kAuto:
      break;
  }
  HEADWISE_CHECK(choice != GroupChoice::kAuto);
  return worker::v1::GROUP_KIND_UNSPECIFIED;
}

void WriteSampling(const SamplingPlan& sampling, worker::v1::Sampling* out) {
  out->set_temperature(sampling.temperature);
  out->set_top_k(sampling.top_k);
  out->set_top_p(sampling.top_p);
  out->set_min_p(sampling.min_p);
  out->set_repetition_penalty(sampling.repetition_penalty);
  out->set_seed(sampling.seed);
  out->set_top_logprobs(sampling.top_logprobs);
  out->set_logprobs(sampling.logprobs);
}

absl::StatusOr<SliceOutcome> ParseSlice(worker::v1::SliceResult* in) {
  SliceOutcome out;
  out.sequence_id = in->sequence_id();
  out.has_token = in->has_token();
  out.token = in->token();
  out.logprob = in->logprob();
  for (const worker::v1::RankedToken& top : in->top()) {
    out.top.push_back({top.token(), top.logprob()});
  }
  out.score_logprobs.assign(in->score_logprobs().begin(),
                            in->score_logprobs().end());
  const std::string& digests = in->logits_digests();
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
  out.hidden.assign(in->hidden().begin(), in->hidden().end());
  return out;
}

// It goes to every rank, which refuses the whole order for one bad endpoint.
absl::Status CheckEndpoint(const std::string& endpoint) {
  if (endpoint.empty() || endpoint.size() > kMaxEndpointBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker prepared with an endpoint of ", endpoint.size(),
                     " bytes, allowed 1 to ", kMaxEndpointBytes));
  }
  for (const char c : endpoint) {
    if (absl::ascii_isprint(static_cast<unsigned char>(c))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("worker prepared with an endpoint that has byte ",
                     static_cast<int>(c) & 0xff, ", allowed are 32 to 126"));
  }
  return absl::OkStatus();
}

// Metrics add these up: a hostile or broken value must not poison a sum.
double SaneSeconds(double seconds) {
  if (!std::isfinite(seconds)) return 0.0;
  return std::clamp(seconds, 0.0, 3600.0);
}

}  // namespace

void WritePrepare(const PrepareOrder& order, worker::v1::PrepareRequest* out) {
  out->set_membership_epoch(order.membership_epoch);
  out->set_model_path(order.model_path);
  out->set_model_sha256(order.model_sha256);
  out->set_rank(static_cast<uint32_t>(order.rank));
  out->set_world_size(static_cast<uint32_t>(order.world_size));
  for (const RankShard::Layer& layer : order.shard.layers) {
    worker::v1::LayerShard* shard = out->mutable_shard()->add_layers();
    for (const int unit : layer.units) shard->add_kv_heads(unit);
    for (const int tile : layer.mlp_tiles) shard->add_mlp_tiles(tile);
  }
  for (const int tile : order.shard.vocab_tiles) {
    out->mutable_shard()->add_vocab_tiles(tile);
  }
  for (const int rank : order.vocab_tile_rank) out->add_vocab_tile_rank(rank);
  out->set_group_kind(ToWire(order.group));
  out->set_group_timeout_ms(absl::ToInt64Milliseconds(order.group_timeout));
  out->set_reduction(order.fast_reduction ? worker::v1::REDUCTION_FAST
                                          : worker::v1::REDUCTION_EXACT);
  out->set_kv_type(order.kv_type);
  out->set_kv_capacity_bytes(order.kv_capacity_bytes);
  out->set_max_step_tokens(order.max_step_tokens);
}

void WriteStep(uint64_t membership_epoch, const StepPlan& plan,
               worker::v1::StepRequest* out) {
  out->set_membership_epoch(membership_epoch);
  out->set_step_id(plan.step_id);
  for (const SlicePlan& slice : plan.slices) {
    worker::v1::Slice* wire = out->add_slices();
    wire->set_sequence_id(slice.sequence_id);
    wire->set_first_position(slice.first_position);
    wire->mutable_tokens()->Add(slice.tokens.begin(), slice.tokens.end());
    wire->set_use_last_sample(slice.use_last_sample);
    wire->set_sample(slice.sample);
    if (slice.sample) WriteSampling(slice.sampling, wire->mutable_sampling());
    wire->mutable_score_targets()->Add(slice.score_targets.begin(),
                                       slice.score_targets.end());
    wire->set_hash_logits(slice.hash_logits);
    wire->set_embed(slice.embed);
  }
  for (const uint64_t id : plan.free_sequence_ids) {
    out->add_free_sequence_ids(id);
  }
}

absl::StatusOr<RankStepResult> ParseStepResponse(
    worker::v1::StepResponse* response) {
  RankStepResult result;
  result.membership_epoch = response->membership_epoch();
  result.step_id = response->step_id();
  const int code = response->status_code();
  if (code < 0 || code > kMaxCode) {
    return absl::InternalError(
        absl::StrCat("status_code ", code, ", allowed 0 to ", kMaxCode));
  }
  result.status =
      absl::Status(static_cast<absl::StatusCode>(code),
                   response->status_message().substr(0, kMaxStatusBytes));
  for (worker::v1::SliceResult& slice : *response->mutable_results()) {
    absl::StatusOr<SliceOutcome> outcome = ParseSlice(&slice);
    if (!outcome.ok()) return outcome.status();
    result.slices.push_back(*std::move(outcome));
  }
  result.compute_seconds = SaneSeconds(response->compute_seconds());
  result.collective_seconds = SaneSeconds(response->collective_seconds());
  const auto sane = [](int64_t count) {
    return std::clamp(count, int64_t{0}, int64_t{1} << 40);
  };
  result.collective_bytes = sane(response->collective_bytes());
  result.num_collectives = sane(response->num_collectives());
  result.kv_blocks_used = sane(response->kv_blocks_used());
  return result;
}

absl::StatusOr<PreparedRank> ParsePrepared(
    const worker::v1::PrepareResponse::Prepared& prepared) {
  constexpr int64_t kMaxBytes = int64_t{1} << 50;
  constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();
  PreparedRank out;
  out.endpoint = prepared.endpoint();
  out.weight_bytes = prepared.weight_bytes();
  out.kv_capacity_blocks = prepared.kv_capacity_blocks();
  const auto in_range = [](const char* what, int64_t value, int64_t max) {
    if (value >= 0 && value <= max) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "worker prepared with ", what, " ", value, ", allowed 0 to ", max));
  };
  HEADWISE_RETURN_IF_ERROR(
      in_range("weight_bytes", out.weight_bytes, kMaxBytes));
  HEADWISE_RETURN_IF_ERROR(
      in_range("kv_capacity_blocks", out.kv_capacity_blocks, kMaxBlocks));
  HEADWISE_RETURN_IF_ERROR(CheckEndpoint(out.endpoint));
  return out;
}

MemberInfo ParseWorkerInfo(const worker::v1::WorkerInfo& info) {
  MemberInfo out;
  out.name = info.name();
  out.address = info.address();
  out.host_id = info.host_id();
  out.speed = info.speed();
  out.memory_bytes = info.memory_bytes();
  out.num_threads = info.num_threads();
  out.isa = info.isa();
  out.version = info.version();
  out.process_id = info.process_id();
  return out;
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  if (code < 0 || code > kMaxCode) {
    return absl::UnknownError(status.error_message());
  }
  return absl::Status(static_cast<absl::StatusCode>(code),
                      status.error_message());
}

}  // namespace headwise
