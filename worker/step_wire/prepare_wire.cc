#include "worker/step_wire/prepare_wire.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

// More layers, heads or tiles than any model has; so lists stay small until the
// model's grid says what is right.
constexpr uint32_t kMaxIndex = 1u << 20;
constexpr int kMaxLayers = 4096;
constexpr size_t kMaxEndpointBytes = 64 << 10;

worker::v1::GroupKind ToWire(GroupChoice choice) {
  switch (choice) {
    case GroupChoice::kInProcess:
      return worker::v1::GROUP_KIND_IN_PROCESS;
    case GroupChoice::kSharedMemory:
      return worker::v1::GROUP_KIND_SHARED_MEMORY;
    case GroupChoice::kGloo:
      return worker::v1::GROUP_KIND_GLOO;
    case GroupChoice::kNccl:
      return worker::v1::GROUP_KIND_NCCL;
    case GroupChoice::kAuto:
      break;
  }
  HEADWISE_CHECK(choice != GroupChoice::kAuto);
  return worker::v1::GROUP_KIND_UNSPECIFIED;
}

absl::StatusOr<GroupChoice> ParseGroup(worker::v1::GroupKind kind) {
  switch (kind) {
    case worker::v1::GROUP_KIND_IN_PROCESS:
      return GroupChoice::kInProcess;
    case worker::v1::GROUP_KIND_SHARED_MEMORY:
      return GroupChoice::kSharedMemory;
    case worker::v1::GROUP_KIND_GLOO:
      return GroupChoice::kGloo;
    case worker::v1::GROUP_KIND_NCCL:
      return GroupChoice::kNccl;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("group_kind ", static_cast<int>(kind),
                       " is none of in-process, shared memory, gloo, nccl"));
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

void WriteShard(const Shard& shard, worker::v1::PrepareRequest* out) {
  for (const Shard::Layer& layer : shard.layers) {
    worker::v1::LayerShard* wire = out->mutable_shard()->add_layers();
    for (const int unit : layer.units) wire->add_kv_heads(unit);
    for (const int tile : layer.mlp_tiles) wire->add_mlp_tiles(tile);
    for (const ContextCut& cut : layer.cuts) {
      worker::v1::ContextCut* to = wire->add_cuts();
      to->set_kv_head(cut.kv_head);
      to->set_owner(cut.owner);
      for (const int rank : cut.rank_of_range) to->add_rank_of_range(rank);
    }
  }
  for (const int tile : shard.vocab_tiles) {
    out->mutable_shard()->add_vocab_tiles(tile);
  }
  for (const int rank : shard.vocab_tile_rank) out->add_vocab_tile_rank(rank);
}

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

absl::StatusOr<ContextCut> ParseCut(const worker::v1::ContextCut& in,
                                    uint32_t world_size) {
  const auto error = [&in](const char* what, int64_t value, int64_t least,
                           int64_t most) {
    return absl::InvalidArgumentError(
        absl::StrCat("cuts of kv_head ", in.kv_head(), ": ", what, " ", value,
                     ", allowed ", least, " to ", most));
  };
  if (in.kv_head() >= kMaxIndex) {
    return error("kv_head", in.kv_head(), 0, kMaxIndex - 1);
  }
  if (in.rank_of_range_size() < 1 ||
      in.rank_of_range_size() > kMaxRangesPerDeal) {
    return error("rank_of_range of", in.rank_of_range_size(), 1,
                 kMaxRangesPerDeal);
  }
  if (in.owner() >= world_size) {
    return error("owner", in.owner(), 0, world_size - 1);
  }
  ContextCut cut;
  cut.kv_head = static_cast<int>(in.kv_head());
  cut.owner = static_cast<int>(in.owner());
  for (const uint32_t rank : in.rank_of_range()) {
    if (rank >= world_size) return error("rank", rank, 0, world_size - 1);
    cut.rank_of_range.push_back(static_cast<int>(rank));
  }
  return cut;
}

absl::StatusOr<Shard> ParseShard(const worker::v1::PrepareRequest& request) {
  if (request.shard().layers_size() > kMaxLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard has ", request.shard().layers_size(),
                     " layers, limit ", kMaxLayers));
  }
  Shard shard;
  shard.rank = static_cast<int>(request.rank());
  for (const worker::v1::LayerShard& in : request.shard().layers()) {
    Shard::Layer layer;
    HEADWISE_ASSIGN_OR_RETURN(layer.units,
                              ParseIndices("kv_heads", in.kv_heads()));
    HEADWISE_ASSIGN_OR_RETURN(layer.mlp_tiles,
                              ParseIndices("mlp_tiles", in.mlp_tiles()));
    for (const worker::v1::ContextCut& cut : in.cuts()) {
      HEADWISE_ASSIGN_OR_RETURN(layer.cuts.emplace_back(),
                                ParseCut(cut, request.world_size()));
    }
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

}  // namespace

void WritePrepare(const WorkerConfig& config, worker::v1::PrepareRequest* out) {
  out->set_membership_epoch(config.membership_epoch);
  out->set_model_path(config.model_path);
  out->set_model_sha256(config.model_sha256);
  out->set_rank(static_cast<uint32_t>(config.rank));
  out->set_world_size(static_cast<uint32_t>(config.world_size));
  WriteShard(config.shard, out);
  out->set_group_kind(ToWire(config.group));
  out->set_group_timeout_ms(absl::ToInt64Milliseconds(config.group_timeout));
  out->set_reduction(config.reduction == ReductionMode::kFast
                         ? worker::v1::REDUCTION_FAST
                         : worker::v1::REDUCTION_EXACT);
  out->set_kv_type(KvTypeName(config.kv_type));
  out->set_kv_capacity_bytes(config.kv_capacity_bytes);
  out->set_max_step_tokens(config.max_step_tokens);
  out->set_protocol(config.protocol);
  out->set_numerics(config.numerics);
  WriteChecksum(out);
}

absl::StatusOr<WorkerConfig> ParsePrepare(
    const worker::v1::PrepareRequest& request) {
  WorkerConfig config;
  config.membership_epoch = request.membership_epoch();
  config.model_path = request.model_path();
  config.model_sha256 = request.model_sha256();
  // Compared as unsigned: 2^32 - 1 must not become -1.
  if (request.world_size() > uint32_t{kMaxRanks} ||
      request.rank() >= uint32_t{kMaxRanks}) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", request.rank(), " of world_size ",
                     request.world_size(), ", limit ", kMaxRanks));
  }
  config.rank = static_cast<int>(request.rank());
  config.world_size = static_cast<int>(request.world_size());
  HEADWISE_ASSIGN_OR_RETURN(config.shard, ParseShard(request));
  HEADWISE_ASSIGN_OR_RETURN(config.group, ParseGroup(request.group_kind()));
  config.group_timeout = absl::Milliseconds(request.group_timeout_ms());
  HEADWISE_ASSIGN_OR_RETURN(config.reduction,
                            ParseReduction(request.reduction()));
  HEADWISE_ASSIGN_OR_RETURN(config.kv_type, ParseKvType(request.kv_type()));
  config.kv_capacity_bytes = request.kv_capacity_bytes();
  config.max_step_tokens = request.max_step_tokens();
  config.protocol = request.protocol();
  config.numerics = request.numerics();
  return config;
}

void WritePrepared(const PreparedShard& prepared,
                   worker::v1::PrepareResponse* out) {
  out->set_progress(1.0);
  out->mutable_prepared()->set_endpoint(prepared.endpoint);
  out->mutable_prepared()->set_weight_bytes(prepared.weight_bytes);
  out->mutable_prepared()->set_loaded_weight_bytes(
      prepared.loaded_weight_bytes);
  out->mutable_prepared()->set_kv_capacity_blocks(prepared.kv_capacity_blocks);
  WriteChecksum(out);
}

absl::StatusOr<PreparedShard> ParsePrepared(
    const worker::v1::PrepareResponse::Prepared& prepared) {
  constexpr int64_t kMaxBytes = int64_t{1} << 50;
  constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();
  PreparedShard out;
  out.endpoint = prepared.endpoint();
  out.weight_bytes = prepared.weight_bytes();
  out.loaded_weight_bytes = prepared.loaded_weight_bytes();
  out.kv_capacity_blocks = prepared.kv_capacity_blocks();
  const auto in_range = [](const char* what, int64_t value, int64_t max) {
    if (value >= 0 && value <= max) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "worker prepared with ", what, " ", value, ", allowed 0 to ", max));
  };
  HEADWISE_RETURN_IF_ERROR(
      in_range("weight_bytes", out.weight_bytes, kMaxBytes));
  HEADWISE_RETURN_IF_ERROR(in_range("loaded_weight_bytes",
                                    out.loaded_weight_bytes, out.weight_bytes));
  HEADWISE_RETURN_IF_ERROR(
      in_range("kv_capacity_blocks", out.kv_capacity_blocks, kMaxBlocks));
  HEADWISE_RETURN_IF_ERROR(CheckEndpoint(out.endpoint));
  return out;
}

absl::StatusOr<std::vector<std::string>> ParseEndpoints(
    const worker::v1::JoinRequest& request) {
  if (request.endpoints_size() > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("join has ", request.endpoints_size(),
                     " endpoints, limit ", kMaxRanks));
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

}  // namespace headwise
