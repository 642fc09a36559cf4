#include "server/frontends/attention_wire.h"

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/policy_names.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

constexpr size_t kMaxTenantBytes = 128;
constexpr int64_t kDefaultTtlSeconds = 600;
constexpr int64_t kDefaultProbeBytes = 1 << 20;
constexpr int64_t kMaxProbeBytes = 8 << 20;

absl::StatusOr<KvElement> ParseElement(v1::KvType type, FloatType input) {
  switch (type) {
    case v1::KV_TYPE_UNSPECIFIED:
      return input == FloatType::kFp16   ? KvElement::kFp16
             : input == FloatType::kBf16 ? KvElement::kBf16
                                         : KvElement::kFp32;
    case v1::KV_TYPE_FP32:
      return KvElement::kFp32;
    case v1::KV_TYPE_FP16:
      return KvElement::kFp16;
    case v1::KV_TYPE_BF16:
      return KvElement::kBf16;
    case v1::KV_TYPE_INT8:
      return KvElement::kInt8;
    default:
      return InvalidField("kv_type", absl::StrCat(type, " is no KvType"));
  }
}

v1::KvType ElementToWire(KvElement element) {
  switch (element) {
    case KvElement::kFp16:
      return v1::KV_TYPE_FP16;
    case KvElement::kBf16:
      return v1::KV_TYPE_BF16;
    case KvElement::kInt8:
      return v1::KV_TYPE_INT8;
    default:
      return v1::KV_TYPE_FP32;
  }
}

absl::StatusOr<UnitPolicy> ParsePolicy(const v1::AttentionPolicy& policy,
                                       int index) {
  const std::string field = absl::StrCat("policies[", index, "]");
  const std::optional<PolicyKind> kind =
      policy.kind().empty() ? PolicyKind::kFull : PolicyNamed(policy.kind());
  if (!kind.has_value()) {
    return InvalidField(
        field, absl::StrCat("no policy is called \"", policy.kind(), "\""));
  }
  UnitPolicy out;
  out.kind = *kind;
  out.num_sinks = policy.num_sinks();
  out.window = policy.window();
  out.count_weight = !policy.has_count_weight() || policy.count_weight();
  out.full_prompt = *kind != PolicyKind::kRazor;  // a session knows no prompt
  out.chunk_len = policy.chunk_len();
  if (*kind == PolicyKind::kQuest && out.chunk_len == 0) {
    out.chunk_len = kPlanChunkMultiple;
  }
  out.num_chunks = policy.num_chunks();
  out.per_query_head = policy.per_query_head();
  const absl::Status status = CheckPolicy(out);
  if (absl::IsInvalidArgument(status)) {
    return InvalidField(field, std::string(status.message()));
  }
  if (status.ok()) return out;
  return absl::Status(status.code(),
                      absl::StrCat(field, ": ", status.message()));
}

absl::Status CheckHeads(const v1::OpenSessionRequest& request) {
  const int64_t heads = request.num_heads();
  const int64_t kv_heads = request.num_kv_heads();
  if (kv_heads < 1 || kv_heads > kMaxSessionKvHeads) {
    return InvalidField(
        "num_kv_heads",
        absl::StrCat(kv_heads, ", allowed 1 to ", kMaxSessionKvHeads));
  }
  if (heads < kv_heads || heads % kv_heads != 0 ||
      heads / kv_heads > kMaxSessionHeadsPerKvHead) {
    return InvalidField(
        "num_heads",
        absl::StrCat(heads, ", must be a multiple of num_kv_heads (", kv_heads,
                     "), 1 to ", kMaxSessionHeadsPerKvHead, " times it"));
  }
  const int policies = request.policies_size();
  if (policies > 1 && policies != kv_heads) {
    return InvalidField("policies",
                        absl::StrCat(policies, " for ", kv_heads,
                                     " KV heads; must be none, 1 or as many"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FloatType> ParseFloatType(v1::FloatType type) {
  switch (type) {
    case v1::FLOAT_TYPE_UNSPECIFIED:
    case v1::FLOAT_TYPE_FP32:
      return FloatType::kFp32;
    case v1::FLOAT_TYPE_FP16:
      return FloatType::kFp16;
    case v1::FLOAT_TYPE_BF16:
      return FloatType::kBf16;
    default:
      return InvalidField("input_type", absl::StrCat(type, " is no FloatType"));
  }
}

v1::FloatType FloatTypeToWire(FloatType type) {
  switch (type) {
    case FloatType::kFp16:
      return v1::FLOAT_TYPE_FP16;
    case FloatType::kBf16:
      return v1::FLOAT_TYPE_BF16;
    default:
      return v1::FLOAT_TYPE_FP32;
  }
}

absl::StatusOr<absl::Duration> ParseTtl(int64_t seconds,
                                        int64_t default_seconds,
                                        int64_t max_seconds) {
  // Checked before it becomes a duration, which saturates.
  if (seconds < 0 || seconds > max_seconds) {
    return InvalidField("ttl_seconds",
                        absl::StrCat(seconds, ", allowed 0 to ", max_seconds));
  }
  return absl::Seconds(seconds == 0 ? default_seconds : seconds);
}

absl::StatusOr<std::string> TenantOf(
    const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  if (metadata.count(kTenantKey) > 1) {
    return InvalidField(kTenantKey, "is there more than once");
  }
  const auto found = metadata.find(kTenantKey);
  if (found == metadata.end()) return std::string();
  if (found->second.size() > kMaxTenantBytes) {
    return InvalidField(kTenantKey,
                        absl::StrCat(found->second.size(), " bytes, at most ",
                                     kMaxTenantBytes, " are allowed"));
  }
  return std::string(found->second.data(), found->second.size());
}

absl::StatusOr<AttentionConfig> ParseOpenSession(
    const v1::OpenSessionRequest& request) {
  HEADWISE_RETURN_IF_ERROR(CheckHeads(request));
  AttentionConfig config;
  SessionShape& shape = config.shape;
  shape.num_kv_heads = request.num_kv_heads();
  shape.heads_per_kv_head = request.num_heads() / request.num_kv_heads();
  shape.head_dim = request.head_dim();
  HEADWISE_ASSIGN_OR_RETURN(shape.input_type,
                            ParseFloatType(request.input_type()));
  HEADWISE_ASSIGN_OR_RETURN(shape.element,
                            ParseElement(request.kv_type(), shape.input_type));
  shape.max_positions = request.max_positions();
  config.softmax_scale = request.softmax_scale();
  if (config.softmax_scale == 0.0) {
    config.softmax_scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  }
  for (int64_t unit = 0; unit < shape.num_kv_heads; ++unit) {
    const int index = request.policies_size() > 1 ? static_cast<int>(unit) : 0;
    UnitPolicy policy;
    if (request.policies_size() > 0) {
      HEADWISE_ASSIGN_OR_RETURN(policy,
                                ParsePolicy(request.policies(index), index));
    }
    config.policies.push_back(policy);
  }
  HEADWISE_ASSIGN_OR_RETURN(config.ttl,
                            ParseTtl(request.ttl_seconds(), kDefaultTtlSeconds,
                                     absl::ToInt64Seconds(kMaxSessionTtl)));
  HEADWISE_RETURN_IF_ERROR(CheckConfig(config));
  return config;
}

void WriteConfig(const AttentionConfig& config, v1::OpenSessionRequest* out) {
  out->set_num_heads(config.num_heads());
  out->set_num_kv_heads(config.shape.num_kv_heads);
  out->set_head_dim(config.shape.head_dim);
  out->set_input_type(FloatTypeToWire(config.shape.input_type));
  out->set_kv_type(ElementToWire(config.shape.element));
  out->set_softmax_scale(config.softmax_scale);
  out->set_max_positions(config.shape.max_positions);
  for (const UnitPolicy& policy : config.policies) {
    v1::AttentionPolicy* to = out->add_policies();
    to->set_kind(NameOf(policy.kind));
    to->set_num_sinks(policy.num_sinks);
    to->set_window(policy.window);
    if (!policy.count_weight) to->set_count_weight(false);
    to->set_chunk_len(policy.chunk_len);
    to->set_num_chunks(policy.num_chunks);
    to->set_per_query_head(policy.per_query_head);
  }
  out->set_ttl_seconds(absl::ToInt64Seconds(config.ttl));
}

void WriteSession(const SessionInfo& info, v1::AttentionSession* out) {
  out->set_session_id(info.session_id);
  WriteConfig(info.config, out->mutable_config());
  out->set_stored_positions(info.stored_positions);
  out->set_reserved_bytes(info.reserved_bytes());
  for (const SessionInfo::Worker& worker : info.workers) {
    v1::AttentionSession::Worker* to = out->add_workers();
    to->set_name(worker.name);
    to->set_reserved_bytes(worker.reserved_bytes);
    to->set_num_units(worker.num_units);
  }
  out->set_lost(info.lost);
}

absl::StatusOr<AttendQuery> ParseAttend(const v1::AttendRequest& request) {
  AttendQuery query = {.query_len = request.query_len(),
                       .queries = request.queries()};
  query.visible_end.assign(request.visible_end().begin(),
                           request.visible_end().end());
  query.all_keys = request.all_keys();
  query.output_as_input = request.output_as_input();
  const v1::ProbeOptions& probes = request.probes();
  query.probes.num_top_keys = probes.top_keys();
  query.probes.segment_bounds.assign(probes.segment_bounds().begin(),
                                     probes.segment_bounds().end());
  query.probes.entropy = probes.entropy();
  query.probes.max_bytes =
      probes.max_bytes() == 0 ? kDefaultProbeBytes : probes.max_bytes();
  if (query.probes.max_bytes < 0 || query.probes.max_bytes > kMaxProbeBytes) {
    return InvalidField(
        "probes.max_bytes",
        absl::StrCat(probes.max_bytes(), ", allowed 0 to ", kMaxProbeBytes));
  }
  return query;
}

void WriteAnswer(AttendAnswer answer, v1::AttendResponse* out) {
  out->set_output(std::move(answer.output));
  out->set_output_type(FloatTypeToWire(answer.output_type));
  out->mutable_lse()->Assign(answer.lse.begin(), answer.lse.end());
  out->set_stored_positions(answer.stored_positions);
  for (const TopKey& key : answer.top) {
    out->add_top_positions(key.position);
    out->add_top_probs(key.prob);
  }
  out->mutable_segment_mass()->Assign(answer.mass.begin(), answer.mass.end());
  out->mutable_entropy()->Assign(answer.entropy.begin(), answer.entropy.end());
}

SnapshotBlock ParseBlocks(const v1::SnapshotBlocks& blocks) {
  return {{blocks.kv_head(), blocks.first_block(), blocks.num_blocks()},
          blocks.data(),
          blocks.sha256()};
}

void WriteBlocks(SnapshotBlock block, v1::SnapshotBlocks* out) {
  out->set_kv_head(block.run.kv_head);
  out->set_first_block(block.run.first_block);
  out->set_num_blocks(block.run.num_blocks);
  out->set_data(std::move(block.data));
  out->set_sha256(std::move(block.sha256));
}

}  // namespace headwise
