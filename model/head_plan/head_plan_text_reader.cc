#include <algorithm>
#include <initializer_list>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/quoted.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_text.h"
#include "model/head_plan/index_ranges.h"
#include "model/head_plan/policy_names.h"

namespace headwise {
namespace {

using Json = nlohmann::json;

// Of one object: typed access that names the path, and remembers which keys
// were asked for, so that others can be refused.
class Members {
 public:
  // `path` is "" or ends with a dot.
  Members(const Json& object, std::string path)
      : object_(object), path_(std::move(path)) {}

  bool Has(const char* key) const { return object_.contains(key); }

  absl::StatusOr<int64_t> Integer(const char* key) {
    HEADWISE_ASSIGN_OR_RETURN(const Json* value, Required(key));
    const bool is_too_large =
        value->is_number_unsigned() &&
        value->get<uint64_t>() >
            static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!value->is_number_integer() || is_too_large) {
      return WrongType(key, *value, "an integer below 2^63");
    }
    return value->get<int64_t>();
  }

  absl::StatusOr<bool> Bool(const char* key) {
    HEADWISE_ASSIGN_OR_RETURN(const Json* value, Required(key));
    if (!value->is_boolean()) return WrongType(key, *value, "true or false");
    return value->get<bool>();
  }

  absl::StatusOr<std::string> Text(const char* key) {
    HEADWISE_ASSIGN_OR_RETURN(const Json* value, Required(key));
    if (!value->is_string()) return WrongType(key, *value, "a text");
    return value->get<std::string>();
  }

  absl::StatusOr<float> Real(const char* key) {
    HEADWISE_ASSIGN_OR_RETURN(const Json* value, Required(key));
    if (!value->is_number()) return WrongType(key, *value, "a number");
    // Beyond float is beyond every limit too; the check that follows says so.
    constexpr double kMax = std::numeric_limits<float>::max();
    return static_cast<float>(std::clamp(value->get<double>(), -kMax, kMax));
  }

  // [] where there is none.
  absl::StatusOr<const Json*> List(const char* key) {
    static const Json* const kEmpty = new Json(Json::array());
    if (!Has(key)) return kEmpty;
    HEADWISE_ASSIGN_OR_RETURN(const Json* value, Required(key));
    if (!value->is_array()) return WrongType(key, *value, "a list");
    return value;
  }

  absl::StatusOr<std::vector<int64_t>> Ranges(const char* key, int64_t count) {
    HEADWISE_ASSIGN_OR_RETURN(const std::string text, Text(key));
    absl::StatusOr<std::vector<int64_t>> indices =
        ParseIndexRanges(text, count);
    if (!indices.ok()) return Bad(key, indices.status().message());
    return indices;
  }

  // The enumerator that `find` knows by the text at `key`.
  template <typename Find, typename Names>
  auto Named(const char* key, Find find, const Names& names)
      -> absl::StatusOr<typename decltype(find(""))::value_type> {
    HEADWISE_ASSIGN_OR_RETURN(const std::string text, Text(key));
    const auto found = find(text);
    if (found) return *found;
    return Bad(key, absl::StrCat(Quoted(text), " is none of ",
                                 absl::StrJoin(names, ", ")));
  }

  // `why` ends the sentence: "is no key of ...".
  absl::Status RefuseOthers(absl::string_view why) const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
        return Bad(Quoted(key), absl::StrCat("is no key of ", why));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Bad(absl::string_view key, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, key, ": ", what));
  }

 private:
  absl::StatusOr<const Json*> Required(const char* key) {
    asked_.push_back(key);
    const auto it = object_.find(key);
    if (it == object_.end()) return Bad(key, "is missing");
    return &*it;
  }
  absl::Status WrongType(const char* key, const Json& value,
                         const char* wanted) const {
    return Bad(
        key, absl::StrCat("is of type ", value.type_name(), ", want ", wanted));
  }

  const Json& object_;
  const std::string path_;
  std::vector<std::string> asked_;
};

// Reads `key` into `field` if it is there.
#define HEADWISE_READ_IF_ANY(field, members, Type, key)        \
  do {                                                         \
    if ((members).Has(key)) {                                  \
      HEADWISE_ASSIGN_OR_RETURN((field), (members).Type(key)); \
    }                                                          \
  } while (false)

absl::StatusOr<UnitPolicy> ReadPolicy(Members& members) {
  UnitPolicy policy;
  HEADWISE_ASSIGN_OR_RETURN(policy.kind,
                            members.Named("policy", PolicyNamed, kPolicyNames));
  if (members.Has("kv_type")) {
    HEADWISE_ASSIGN_OR_RETURN(
        policy.kv_type,
        members.Named("kv_type", PlanKvTypeNamed, kPlanKvTypeNames));
  }
  const PolicyFields fields = FieldsOf(policy.kind);
  if (fields.window) {
    HEADWISE_READ_IF_ANY(policy.num_sinks, members, Integer, "sinks");
    HEADWISE_ASSIGN_OR_RETURN(policy.window, members.Integer("window"));
  }
  if (fields.slot_positions) {
    HEADWISE_READ_IF_ANY(policy.slot_positions, members, Bool,
                         "slot_positions");
  }
  if (fields.compensation) {
    HEADWISE_READ_IF_ANY(policy.count_weight, members, Bool, "count_weight");
    HEADWISE_READ_IF_ANY(policy.full_prompt, members, Bool, "full_prompt");
    HEADWISE_READ_IF_ANY(policy.window_divisor, members, Integer,
                         "window_divisor");
  }
  if (fields.chunks) {
    HEADWISE_ASSIGN_OR_RETURN(policy.chunk_len, members.Integer("chunk_len"));
    HEADWISE_ASSIGN_OR_RETURN(policy.num_chunks, members.Integer("chunks"));
    HEADWISE_READ_IF_ANY(policy.per_query_head, members, Bool,
                         "per_query_head");
  }
  HEADWISE_RETURN_IF_ERROR(members.RefuseOthers(
      absl::StrCat("a rule with policy ", NameOf(policy.kind))));
  return policy;
}

absl::StatusOr<QueryHeadPlan> ReadHead(Members& members) {
  QueryHeadPlan head;
  if (members.Has("mask")) {
    HEADWISE_ASSIGN_OR_RETURN(
        head.mask, members.Named("mask", HeadMaskNamed, kHeadMaskNames));
  }
  HEADWISE_READ_IF_ANY(head.output_scale, members, Real, "output_scale");
  HEADWISE_READ_IF_ANY(head.sink_beta, members, Real, "sink_beta");
  HEADWISE_READ_IF_ANY(head.sink_threshold, members, Real, "sink_threshold");
  HEADWISE_RETURN_IF_ERROR(members.RefuseOthers("a rule of query heads"));
  return head;
}

#undef HEADWISE_READ_IF_ANY

// What the rules of one list are about.
template <typename Value>
struct RuleList {
  const char* key;         // "units"
  const char* places_key;  // "kv_heads"
  int64_t num_layers;
  int64_t per_layer;
  absl::StatusOr<Value> (*read)(Members&);
  absl::Status (*check)(const Value&);
};

template <typename Value>
absl::Status ReadRules(const RuleList<Value>& list, const Json& rules,
                       std::vector<Value>* values) {
  values->resize(static_cast<size_t>(list.num_layers * list.per_layer));
  int64_t num_named = 0;
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::string path = absl::StrCat(list.key, "[", i, "]");
    if (!rules[i].is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": is of type ", rules[i].type_name(), ", want an object"));
    }
    Members members(rules[i], path + ".");
    HEADWISE_ASSIGN_OR_RETURN(const std::vector<int64_t> layers,
                              members.Ranges("layers", list.num_layers));
    HEADWISE_ASSIGN_OR_RETURN(const std::vector<int64_t> places,
                              members.Ranges(list.places_key, list.per_layer));
    HEADWISE_ASSIGN_OR_RETURN(const Value value, list.read(members));
    if (const absl::Status status = list.check(value); !status.ok()) {
      // The text form leaves the "num_" of num_sinks and num_chunks out.
      return absl::InvalidArgumentError(
          absl::StrCat(path, ".", absl::StripPrefix(status.message(), "num_")));
    }
    num_named += static_cast<int64_t>(layers.size() * places.size());
    if (num_named > kMaxNamedByRules) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": the rules so far name ", num_named,
                       " entries; the limit is ", kMaxNamedByRules));
    }
    for (const int64_t layer : layers) {
      for (const int64_t place : places) {
        (*values)[static_cast<size_t>(layer * list.per_layer + place)] = value;
      }
    }
  }
  return absl::OkStatus();
}

// Sizes that CheckHeadPlan accepts, before anything is made of them.
absl::Status ReadShape(Members& members, HeadPlan* plan) {
  HEADWISE_ASSIGN_OR_RETURN(plan->num_layers, members.Integer("layers"));
  HEADWISE_ASSIGN_OR_RETURN(plan->num_heads, members.Integer("heads"));
  HEADWISE_ASSIGN_OR_RETURN(plan->num_kv_heads, members.Integer("kv_heads"));
  const absl::Status status = CheckPlanShape(*plan);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      absl::StripPrefix(status.message(), "num_"));
}

absl::Status ReadVersion(Members& members) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t version, members.Integer("version"));
  if (version == kHeadPlanVersion) return absl::OkStatus();
  return members.Bad("version", absl::StrCat(version, "; this program reads ",
                                             kHeadPlanVersion));
}

}  // namespace

absl::StatusOr<HeadPlan> ParseHeadPlanText(absl::string_view text) {
  const JsonLimits limits = {.max_bytes = kMaxHeadPlanBytes, .max_depth = 4};
  HEADWISE_ASSIGN_OR_RETURN(
      const Json json,
      ParseBoundedJson(
          "head plan",
          {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
          limits));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "head plan: is of type ", json.type_name(), ", want an object"));
  }
  Members members(json, "");
  // First, because another version may have other keys.
  HEADWISE_RETURN_IF_ERROR(ReadVersion(members));
  HeadPlan plan;
  HEADWISE_ASSIGN_OR_RETURN(plan.model_sha256, members.Text("model_sha256"));
  HEADWISE_RETURN_IF_ERROR(ReadShape(members, &plan));
  if (members.Has("origin")) {
    HEADWISE_ASSIGN_OR_RETURN(plan.origin, members.Text("origin"));
  }
  if (members.Has("landmark_token")) {
    HEADWISE_ASSIGN_OR_RETURN(plan.landmark_token,
                              members.Integer("landmark_token"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const Json* units, members.List("units"));
  HEADWISE_ASSIGN_OR_RETURN(const Json* heads, members.List("query_heads"));
  HEADWISE_RETURN_IF_ERROR(members.RefuseOthers("a head plan"));
  HEADWISE_RETURN_IF_ERROR(
      ReadRules<UnitPolicy>({"units", "kv_heads", plan.num_layers,
                             plan.num_kv_heads, ReadPolicy, CheckUnitPolicy},
                            *units, &plan.units));
  HEADWISE_RETURN_IF_ERROR(
      ReadRules<QueryHeadPlan>({"query_heads", "heads", plan.num_layers,
                                plan.num_heads, ReadHead, CheckQueryHeadPlan},
                               *heads, &plan.heads));
  HEADWISE_RETURN_IF_ERROR(CheckHeadPlan(plan));
  return plan;
}

}  // namespace headwise
