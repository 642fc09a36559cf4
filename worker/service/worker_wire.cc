#include "worker/service/worker_wire.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/collectives/group_factory.h"

namespace headwise {
namespace {

// More layers, heads or tiles than any model has; so lists stay small until the
// model's grid says what is right.
constexpr uint32_t kMaxIndex = 1u << 20;
constexpr int kMaxLayers = 4096;
constexpr int kMaxSlices = 1 << 16;
constexpr size_t kMaxStatusBytes = 4096;  // HTTP/2 headers carry the message

absl::StatusOr<std::vector<int>> ParseIndices(
    const char* what, const google::protobuf::RepeatedField<uint32_t>& in) {
  std::vector<int> out;
  out.reserve(in.size());
  for (const uint32_t index : in) {
    if (index >= kMaxIndex) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, " has ", index, ", limit ", kMaxIndex));
    }
    out.push_back(static_cast<int>(index));
  }
  return out;
}

absl::StatusOr<Shard> ParseShard(const worker::v1::PrepareRequest& request) {
  if (request.shard().layers_size() > kMaxLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard has ", request.shard().layers_size(),
                     " layers, limit ", kMaxLayers));
  }
  Shard shard;
  for (const worker::v1::LayerShard& in : request.shard().layers()) {
    Shard::Layer layer;
    HEADWISE_ASSIGN_OR_RETURN(layer.units,
                              ParseIndices("kv_heads", in.kv_heads()));
    HEADWISE_ASSIGN_OR_RETURN(layer.mlp_tiles,
                              ParseIndices("mlp_tiles", in.mlp_tiles()));
    shard.layers.push_back(std::move(layer));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      shard.vocab_tiles,
      ParseIndices("vocab_tiles", request.shard().vocab_tiles()));
  HEADWISE_ASSIGN_OR_RETURN(
      shard.vocab_tile_rank,
      ParseIndices("vocab_tile_rank", request.vocab_tile_rank()));
  return shard;
}

absl::StatusOr<WorkerGroupKind> ParseKind(worker::v1::GroupKind kind) {
  switch (kind) {
    case worker::v1::GROUP_KIND_IN_PROCESS:
      return WorkerGroupKind::kInProcess;
    case worker::v1::GROUP_KIND_SHARED_MEMORY:
      return WorkerGroupKind::kSharedMemory;
    case worker::v1::GROUP_KIND_GLOO:
      return WorkerGroupKind::kGloo;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("group_kind ", static_cast<int>(kind),
                       " is none of in-process, shared memory, gloo"));
  }
}

absl::StatusOr<ReductionMode> ParseReduction(worker::v1::Reduction reduction) {
  switch (reduction) {
    case worker::v1::REDUCTION_UNSPECIFIED:
    case worker::v1::REDUCTION_EXACT:
      return ReductionMode::kExact;
    case worker::v1::REDUCTION_FAST:
      return ReductionMode::kFast;
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "reduction ", static_cast<int>(reduction), " is unknown"));
  }
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

void WriteSlice(const SliceResult& in, worker::v1::SliceResult* out) {
  out->set_sequence_id(in.sequence_id);
  out->set_has_token(in.has_token);
  out->set_token(in.token);
  out->set_logprob(in.logprob);
  for (const RankedToken& top : in.top) {
    worker::v1::RankedToken* wire = out->add_top();
    wire->set_token(top.token);
    wire->set_logprob(top.logprob);
  }
  out->mutable_score_logprobs()->Add(in.score_logprobs.begin(),
                                     in.score_logprobs.end());
  std::string* digests = out->mutable_logits_digests();
  for (const Sha256Digest& digest : in.logits_digests) {
    digests->append(digest.begin(), digest.end());
  }
  out->mutable_hidden()->Add(in.hidden.begin(), in.hidden.end());
}

}  // namespace

absl::StatusOr<WorkerConfig> ParsePrepare(
    const worker::v1::PrepareRequest& request) {
  WorkerConfig config;
  config.membership_epoch = request.membership_epoch();
  config.model_path = request.model_path();
  config.model_sha256 = request.model_sha256();
  // Compared as unsigned first: 2^32 - 1 must not become -1.
  if (request.world_size() > static_cast<uint32_t>(kMaxWorldSize) ||
      request.rank() >= static_cast<uint32_t>(kMaxWorldSize)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", request.rank(), " of world_size ",
                     request.world_size(), ", limit ", kMaxWorldSize));
  }
  config.rank = static_cast<int>(request.rank());
  config.world_size = static_cast<int>(request.world_size());
  HEADWISE_ASSIGN_OR_RETURN(config.shard, ParseShard(request));
  HEADWISE_ASSIGN_OR_RETURN(config.group_kind, ParseKind(request.group_kind()));
  config.group_timeout = absl::Milliseconds(request.group_timeout_ms());
  HEADWISE_ASSIGN_OR_RETURN(config.reduction,
                            ParseReduction(request.reduction()));
  HEADWISE_ASSIGN_OR_RETURN(config.kv_type, ParseKvType(request.kv_type()));
  config.kv_capacity_bytes = request.kv_capacity_bytes();
  config.max_step_tokens = request.max_step_tokens();
  HEADWISE_RETURN_IF_ERROR(CheckConfig(config));
  return config;
}

absl::StatusOr<Step> ParseStep(const worker::v1::StepRequest& request) {
  if (request.slices_size() > kMaxSlices) {
    return absl::InvalidArgumentError(
        absl::StrCat("step ", request.step_id(), " has ", request.slices_size(),
                     " slices, limit ", kMaxSlices));
  }
  Step step;
  step.step_id = request.step_id();
  step.slices.reserve(request.slices_size());
  for (const worker::v1::Slice& in : request.slices()) {
    Slice slice;
    slice.sequence_id = in.sequence_id();
    slice.first_position = in.first_position();
    slice.tokens.assign(in.tokens().begin(), in.tokens().end());
    slice.use_last_sample = in.use_last_sample();
    slice.sample = in.sample();
    if (in.has_sampling()) slice.sampling = ParseSampling(in.sampling());
    slice.score_targets.assign(in.score_targets().begin(),
                               in.score_targets().end());
    slice.hash_logits = in.hash_logits();
    slice.embed = in.embed();
    step.slices.push_back(std::move(slice));
  }
  step.free_sequence_ids.assign(request.free_sequence_ids().begin(),
                                request.free_sequence_ids().end());
  return step;
}

absl::StatusOr<std::vector<std::string>> ParseEndpoints(
    const worker::v1::JoinRequest& request) {
  constexpr size_t kMaxEndpointBytes = 64 << 10;
  if (request.endpoints_size() > kMaxWorldSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("join has ", request.endpoints_size(),
                     " endpoints, limit ", kMaxWorldSize));
  }
  for (const std::string& endpoint : request.endpoints()) {
    if (endpoint.size() <= kMaxEndpointBytes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("an endpoint has ", endpoint.size(), " bytes, limit ",
                     kMaxEndpointBytes));
  }
  return std::vector<std::string>(request.endpoints().begin(),
                                  request.endpoints().end());
}

void WriteStepResult(uint64_t membership_epoch, uint64_t step_id,
                     const absl::StatusOr<StepResult>& result,
                     worker::v1::StepResponse* out) {
  out->set_membership_epoch(membership_epoch);
  out->set_step_id(step_id);
  out->set_status_code(static_cast<int>(result.status().code()));
  if (!result.ok()) {
    out->set_status_message(
        std::string(result.status().message().substr(0, kMaxStatusBytes)));
    return;
  }
  for (const SliceResult& slice : result->results) {
    WriteSlice(slice, out->add_results());
  }
  out->set_compute_seconds(result->compute_seconds);
  out->set_collective_seconds(result->collective_seconds);
  out->set_kv_blocks_used(result->kv_blocks_used);
  out->set_collective_bytes(result->collective_bytes);
  out->set_num_collectives(result->num_collectives);
}

void WritePrepared(const PreparedShard& prepared,
                   worker::v1::PrepareResponse* out) {
  out->set_progress(1.0);
  out->mutable_prepared()->set_endpoint(prepared.endpoint);
  out->mutable_prepared()->set_weight_bytes(prepared.weight_bytes);
  out->mutable_prepared()->set_kv_capacity_blocks(prepared.kv_capacity_blocks);
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kMaxStatusBytes)));
}

}  // namespace headwise
