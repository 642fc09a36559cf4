#include "server/frontends/neural_memory_wire.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

constexpr int64_t kDefaultTtlSeconds = 600;

absl::StatusOr<MemoryActivation> ParseActivation(v1::MemoryActivation wire) {
  switch (wire) {
    case v1::MEMORY_ACTIVATION_UNSPECIFIED:
    case v1::MEMORY_ACTIVATION_SILU:
      return MemoryActivation::kSilu;
    case v1::MEMORY_ACTIVATION_GELU:
      return MemoryActivation::kGelu;
    default:
      return InvalidField("config.spec.activation",
                          absl::StrCat(wire, " is no MemoryActivation"));
  }
}

absl::StatusOr<MemoryNorm> ParseNorm(v1::MemoryNorm wire) {
  switch (wire) {
    case v1::MEMORY_NORM_UNSPECIFIED:
    case v1::MEMORY_NORM_NONE:
      return MemoryNorm::kNone;
    case v1::MEMORY_NORM_LAYER:
      return MemoryNorm::kLayer;
    case v1::MEMORY_NORM_RMS:
      return MemoryNorm::kRms;
    default:
      return InvalidField("config.spec.norm",
                          absl::StrCat(wire, " is no MemoryNorm"));
  }
}

absl::StatusOr<MemoryRule> ParseRule(v1::MemoryRule wire) {
  switch (wire) {
    case v1::MEMORY_RULE_UNSPECIFIED:
    case v1::MEMORY_RULE_TOKEN:
      return MemoryRule::kToken;
    case v1::MEMORY_RULE_CHUNK:
      return MemoryRule::kChunk;
    default:
      return InvalidField("config.spec.rule",
                          absl::StrCat(wire, " is no MemoryRule"));
  }
}

v1::MemoryNorm NormToWire(MemoryNorm norm) {
  switch (norm) {
    case MemoryNorm::kLayer:
      return v1::MEMORY_NORM_LAYER;
    case MemoryNorm::kRms:
      return v1::MEMORY_NORM_RMS;
    default:
      return v1::MEMORY_NORM_NONE;
  }
}

absl::StatusOr<MemorySpec> ParseSpec(const v1::MemorySpec& wire) {
  const MemorySpec defaults;
  MemorySpec spec;
  spec.head_dim = wire.head_dim();
  spec.num_layers =
      wire.num_layers() == 0 ? defaults.num_layers : wire.num_layers();
  spec.hidden_dim = wire.hidden_dim();
  if (spec.hidden_dim == 0 && spec.num_layers > 1) {
    spec.hidden_dim = 2 * spec.head_dim;
  }
  HEADWISE_ASSIGN_OR_RETURN(spec.activation,
                            ParseActivation(wire.activation()));
  HEADWISE_ASSIGN_OR_RETURN(spec.norm, ParseNorm(wire.norm()));
  spec.residual = !wire.has_residual() || wire.residual();
  HEADWISE_ASSIGN_OR_RETURN(spec.rule, ParseRule(wire.rule()));
  spec.chunk_len =
      wire.chunk_len() == 0 ? defaults.chunk_len : wire.chunk_len();
  spec.loss_scale =
      wire.loss_scale() == 0.0f ? defaults.loss_scale : wire.loss_scale();
  spec.max_norm = wire.max_norm() == 0.0f ? defaults.max_norm : wire.max_norm();
  return spec;
}

void WriteSpec(int64_t num_heads, const MemorySpec& spec, v1::MemorySpec* out) {
  out->set_num_heads(num_heads);
  out->set_head_dim(spec.head_dim);
  out->set_num_layers(spec.num_layers);
  out->set_hidden_dim(spec.hidden_dim);
  out->set_activation(spec.activation == MemoryActivation::kGelu
                          ? v1::MEMORY_ACTIVATION_GELU
                          : v1::MEMORY_ACTIVATION_SILU);
  out->set_norm(NormToWire(spec.norm));
  out->set_residual(spec.residual);
  out->set_rule(spec.rule == MemoryRule::kChunk ? v1::MEMORY_RULE_CHUNK
                                                : v1::MEMORY_RULE_TOKEN);
  out->set_chunk_len(spec.chunk_len);
  out->set_loss_scale(spec.loss_scale);
  out->set_max_norm(spec.max_norm);
}

MemoryGates ParseGates(const v1::MemoryGates& gates) {
  return {gates.theta(), gates.eta(), gates.alpha()};
}

void WriteGates(const MemoryGates& gates, v1::MemoryGates* out) {
  out->set_theta(gates.theta);
  out->set_eta(gates.eta);
  out->set_alpha(gates.alpha);
}

std::string HashOf(const std::string& bytes) {
  const Sha256Digest digest =
      Sha256Of({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  return {digest.begin(), digest.end()};
}

}  // namespace

absl::StatusOr<MemoryConfig> ParseMemoryConfig(const v1::MemoryConfig& config) {
  MemoryConfig out;
  out.num_heads = config.spec().num_heads();
  HEADWISE_ASSIGN_OR_RETURN(out.spec, ParseSpec(config.spec()));
  if (config.has_default_gates() && config.head_gates_size() > 0) {
    return InvalidField("config.head_gates", "there are default_gates");
  }
  if (config.has_default_gates()) {
    out.default_gates = {ParseGates(config.default_gates())};
  }
  for (const v1::MemoryGates& gates : config.head_gates()) {
    out.default_gates.push_back(ParseGates(gates));
  }
  HEADWISE_ASSIGN_OR_RETURN(out.input_type,
                            ParseFloatType(config.input_type()));
  HEADWISE_ASSIGN_OR_RETURN(out.ttl,
                            ParseTtl(config.ttl_seconds(), kDefaultTtlSeconds,
                                     absl::ToInt64Seconds(kMaxMemoryTtl)));
  HEADWISE_RETURN_IF_ERROR(CheckMemoryConfig(out));
  return out;
}

void WriteMemoryConfig(const MemoryConfig& config, v1::MemoryConfig* out) {
  WriteSpec(config.num_heads, config.spec, out->mutable_spec());
  const bool has_one = config.default_gates.size() == 1;
  for (const MemoryGates& gates : config.default_gates) {
    WriteGates(gates,
               has_one ? out->mutable_default_gates() : out->add_head_gates());
  }
  out->set_input_type(FloatTypeToWire(config.input_type));
  out->set_ttl_seconds(absl::ToInt64Seconds(config.ttl));
}

absl::StatusOr<std::optional<ModelMemory>> ParseModelMemory(
    const v1::CreateMemoryRequest& request, const ServedModel& model) {
  if (request.model().empty()) {
    if (request.layer() == 0 && request.heads().empty()) return std::nullopt;
    return InvalidField("model",
                        "layer and heads are of a model, none is named");
  }
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), model));
  if (request.config().has_spec()) {
    return InvalidField("config.spec",
                        "the model has it, so it must be absent");
  }
  if (request.start_case() != v1::CreateMemoryRequest::START_NOT_SET) {
    return InvalidField(request.has_weights() ? "weights" : "seed",
                        "the model has the weights, so it must be absent");
  }
  return MemoryOfModel(*model.model, request.layer(), request.heads());
}

absl::StatusOr<MemoryConfig> ParseNewMemoryConfig(
    const v1::MemoryConfig& config,
    const std::optional<ModelMemory>& of_model) {
  if (!of_model.has_value()) return ParseMemoryConfig(config);
  v1::MemoryConfig whole = config;
  WriteSpec(of_model->num_heads, of_model->spec, whole.mutable_spec());
  if (!whole.has_default_gates() && whole.head_gates().empty()) {
    for (const MemoryGates& gates : of_model->gates) {
      WriteGates(gates, whole.add_head_gates());
    }
  }
  return ParseMemoryConfig(whole);
}

MemoryStart StartOf(const v1::CreateMemoryRequest& request,
                    const std::optional<ModelMemory>& of_model) {
  MemoryStart start;
  start.seed = request.seed();
  if (request.has_weights()) start.weights = &request.weights();
  if (of_model.has_value()) start.weights = &of_model->weights;
  return start;
}

void WriteMemory(const MemoryInfo& info, v1::Memory* out) {
  out->set_memory_id(info.memory_id);
  WriteMemoryConfig(info.config, out->mutable_config());
  out->set_num_tokens(info.num_tokens);
  out->set_state_bytes(info.state_bytes);
  out->set_reserved_bytes(info.reserved_bytes());
  for (const MemoryInfo::Worker& worker : info.workers) {
    v1::Memory::Worker* to = out->add_workers();
    to->set_name(worker.name);
    to->set_reserved_bytes(worker.reserved_bytes);
    to->set_first_head(worker.first_head);
    to->set_num_heads(worker.num_heads);
  }
  out->set_frozen(info.frozen);
  out->set_of_session(info.of_session);
  out->set_lost(info.lost);
}

MemoryWrite ParseMemoryWrite(const v1::WriteMemoryRequest& request) {
  return {request.offset(), request.keys(), request.values(), request.queries(),
          request.theta(),  request.eta(),  request.alpha(),  request.sha256()};
}

void WriteOutcome(const MemoryWriteOutcome& outcome, bool with_surprise,
                  v1::WriteMemoryResponse* out) {
  out->set_num_tokens(outcome.num_tokens);
  out->set_repeated(outcome.was_written);
  out->set_outputs(FloatsToBytes(outcome.outputs));
  if (!with_surprise) return;
  out->mutable_surprise()->Assign(outcome.surprise.begin(),
                                  outcome.surprise.end());
}

std::string FloatsToBytes(const std::vector<float>& floats) {
  std::string bytes(floats.size() * sizeof(float), '\0');
  WriteFloats(FloatType::kFp32, floats.data(),
              static_cast<int64_t>(floats.size()),
              reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes;
}

absl::StatusOr<MemorySnapshotInfo> ParseSnapshotHeader(
    const v1::MemorySnapshotHeader& header) {
  if (header.format() != kMemorySnapshotFormat) {
    return InvalidField(
        "header.format",
        absl::StrCat(header.format(), ", must be ", kMemorySnapshotFormat));
  }
  v1::MemorySnapshotState state;
  if (HashOf(header.state()) != header.sha256() ||
      !state.ParseFromString(header.state())) {
    return absl::DataLossError(
        "header.state does not have its sha256: it was changed");
  }
  HEADWISE_ASSIGN_OR_RETURN(const MemoryConfig config,
                            ParseMemoryConfig(state.config()));
  return MemorySnapshotInfo{config, state.num_tokens(), state.frozen()};
}

void WriteSnapshotHeader(const MemorySnapshotInfo& info,
                         v1::MemorySnapshotHeader* out) {
  v1::MemorySnapshotState state;
  WriteMemoryConfig(info.config, state.mutable_config());
  state.set_num_tokens(info.num_tokens);
  state.set_frozen(info.frozen);
  out->set_format(kMemorySnapshotFormat);
  out->set_state(state.SerializeAsString());
  out->set_sha256(HashOf(out->state()));
}

MemoryPiece ParsePiece(v1::MemorySnapshotPiece& piece) {
  return {piece.head(), piece.offset(), piece.head_bytes(),
          std::move(*piece.mutable_data())};
}

void WritePiece(MemoryPiece piece, v1::MemorySnapshotPiece* out) {
  out->set_head(piece.head);
  out->set_offset(piece.offset);
  out->set_head_bytes(piece.head_bytes);
  out->set_data(std::move(piece.data));
}

}  // namespace headwise
