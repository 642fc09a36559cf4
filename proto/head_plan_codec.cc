#include "proto/head_plan_codec.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "google/protobuf/stubs/logging.h"

namespace headwise {
namespace {

// The messages' enums are ours shifted by one where 0 is refused.
static_assert(v1::POLICY_KIND_FULL == static_cast<int>(PolicyKind::kFull) + 1);
static_assert(v1::POLICY_KIND_LANDMARK ==
              static_cast<int>(PolicyKind::kLandmark) + 1);
static_assert(v1::PolicyKind_MAX == v1::POLICY_KIND_LANDMARK);
static_assert(v1::PLAN_KV_TYPE_INT8 == static_cast<int>(PlanKvType::kInt8));
static_assert(v1::PlanKvType_MAX == v1::PLAN_KV_TYPE_INT8);
static_assert(v1::HEAD_MASK_ZERO == static_cast<int>(HeadMask::kZero));
static_assert(v1::HeadMask_MAX == v1::HEAD_MASK_ZERO);

void WriteHead(const QueryHeadPlan& head, v1::QueryHeadPlan* message) {
  message->set_mask(static_cast<v1::HeadMask>(head.mask));
  if (head.output_scale != 1.0f) message->set_output_scale(head.output_scale);
  if (head.sink_beta != 1.0f) message->set_sink_beta(head.sink_beta);
  message->set_sink_threshold(head.sink_threshold);
}

absl::Status Unknown(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, what, " is not known to version ", kHeadPlanVersion));
}

absl::Status CheckNoUnknownField(const google::protobuf::Message& message) {
  const auto& fields = message.GetReflection()->GetUnknownFields(message);
  if (fields.empty()) return absl::OkStatus();
  return Unknown("field ", absl::StrCat(fields.field(0).number()));
}

absl::StatusOr<UnitPolicy> ReadUnit(const v1::UnitPolicy& message) {
  HEADWISE_RETURN_IF_ERROR(CheckNoUnknownField(message));
  if (message.kind() == v1::POLICY_KIND_UNSPECIFIED ||
      !v1::PolicyKind_IsValid(message.kind())) {
    return Unknown("kind: ", absl::StrCat(message.kind()));
  }
  if (!v1::PlanKvType_IsValid(message.kv_type())) {
    return Unknown("kv_type: ", absl::StrCat(message.kv_type()));
  }
  UnitPolicy unit;
  unit.kind = static_cast<PolicyKind>(message.kind() - 1);
  unit.kv_type = static_cast<PlanKvType>(message.kv_type());
  unit.num_sinks = message.num_sinks();
  unit.window = message.window();
  unit.slot_positions = message.slot_positions();
  if (message.has_count_weight()) unit.count_weight = message.count_weight();
  if (message.has_full_prompt()) unit.full_prompt = message.full_prompt();
  unit.window_divisor = message.window_divisor();
  unit.chunk_len = message.chunk_len();
  unit.num_chunks = message.num_chunks();
  unit.per_query_head = message.per_query_head();
  return unit;
}

absl::StatusOr<QueryHeadPlan> ReadHead(const v1::QueryHeadPlan& message) {
  HEADWISE_RETURN_IF_ERROR(CheckNoUnknownField(message));
  if (!v1::HeadMask_IsValid(message.mask())) {
    return Unknown("mask: ", absl::StrCat(message.mask()));
  }
  QueryHeadPlan head;
  head.mask = static_cast<HeadMask>(message.mask());
  if (message.has_output_scale()) head.output_scale = message.output_scale();
  if (message.has_sink_beta()) head.sink_beta = message.sink_beta();
  head.sink_threshold = message.sink_threshold();
  return head;
}

// Appends what `read` makes of every message; `list` names them in errors.
template <typename Messages, typename Read, typename Value>
absl::Status ReadEach(const char* list, const Messages& messages, Read read,
                      std::vector<Value>* values) {
  values->reserve(static_cast<size_t>(messages.size()));
  for (int i = 0; i < messages.size(); ++i) {
    const absl::StatusOr<Value> value = read(messages[i]);
    if (!value.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(list, "[", i, "] ", value.status().message()));
    }
    values->push_back(*value);
  }
  return absl::OkStatus();
}

}  // namespace

void WriteUnitPolicy(const UnitPolicy& unit, v1::UnitPolicy* message) {
  message->set_kind(
      static_cast<v1::PolicyKind>(static_cast<int>(unit.kind) + 1));
  message->set_kv_type(static_cast<v1::PlanKvType>(unit.kv_type));
  message->set_num_sinks(unit.num_sinks);
  message->set_window(unit.window);
  message->set_slot_positions(unit.slot_positions);
  if (!unit.count_weight) message->set_count_weight(false);
  if (!unit.full_prompt) message->set_full_prompt(false);
  message->set_window_divisor(unit.window_divisor);
  message->set_chunk_len(unit.chunk_len);
  message->set_num_chunks(unit.num_chunks);
  message->set_per_query_head(unit.per_query_head);
}

void WriteHeadPlan(const HeadPlan& plan, v1::HeadPlan* message) {
  message->Clear();
  message->set_version(kHeadPlanVersion);
  message->set_model_sha256(plan.model_sha256);
  message->set_num_layers(plan.num_layers);
  message->set_num_heads(plan.num_heads);
  message->set_num_kv_heads(plan.num_kv_heads);
  for (const UnitPolicy& unit : plan.units) {
    WriteUnitPolicy(unit, message->add_units());
  }
  for (const QueryHeadPlan& head : plan.heads) {
    WriteHead(head, message->add_heads());
  }
  message->set_origin(plan.origin);
  if (plan.landmark_token != -1) {
    message->set_landmark_token(plan.landmark_token);
  }
}

absl::StatusOr<HeadPlan> ReadHeadPlan(const v1::HeadPlan& message) {
  // First, because another version may have other fields.
  if (message.version() != kHeadPlanVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("version: ", message.version(), "; this program reads ",
                     kHeadPlanVersion));
  }
  HEADWISE_RETURN_IF_ERROR(CheckNoUnknownField(message));
  HeadPlan plan;
  plan.model_sha256 = message.model_sha256();
  plan.num_layers = message.num_layers();
  plan.num_heads = message.num_heads();
  plan.num_kv_heads = message.num_kv_heads();
  plan.origin = message.origin();
  if (message.has_landmark_token()) {
    plan.landmark_token = message.landmark_token();
  }
  HEADWISE_RETURN_IF_ERROR(
      ReadEach("units", message.units(), ReadUnit, &plan.units));
  HEADWISE_RETURN_IF_ERROR(
      ReadEach("heads", message.heads(), ReadHead, &plan.heads));
  HEADWISE_RETURN_IF_ERROR(CheckHeadPlan(plan));
  return plan;
}

absl::StatusOr<UnitPolicy> ReadUnitPolicy(const v1::UnitPolicy& message) {
  HEADWISE_ASSIGN_OR_RETURN(UnitPolicy unit, ReadUnit(message));
  HEADWISE_RETURN_IF_ERROR(CheckUnitPolicy(unit));
  return unit;
}

std::string EncodeHeadPlan(const HeadPlan& plan) {
  v1::HeadPlan message;
  WriteHeadPlan(plan, &message);
  // No map and no unknown field: one message has one encoding.
  return message.SerializeAsString();
}

absl::StatusOr<HeadPlan> DecodeHeadPlan(absl::string_view bytes) {
  if (bytes.size() > kMaxHeadPlanBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the head plan has ", bytes.size(),
                     " bytes; the limit is ", kMaxHeadPlanBytes));
  }
  v1::HeadPlan message;
  // It would log what a stranger sent.
  const google::protobuf::LogSilencer silence;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError(
        "not a head plan: neither JSON nor a headwise.v1.HeadPlan message");
  }
  return ReadHeadPlan(message);
}

}  // namespace headwise
