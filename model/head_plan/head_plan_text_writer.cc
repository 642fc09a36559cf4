#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_text.h"
#include "model/head_plan/index_ranges.h"
#include "model/head_plan/policy_names.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

std::string Quote(const std::string& text) {
  return nlohmann::json(text).dump();
}

// The shortest number that is read back as `value`.
std::string FormatFloat(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  *end = '\0';
  // Readers go through double, which rounds twice.
  if (static_cast<float>(std::strtod(text, nullptr)) == value) return text;
  return nlohmann::json(static_cast<double>(value)).dump();
}

// `, "policy": "streaming", "sinks": 64, "window": 256`
std::string MembersOf(const UnitPolicy& policy) {
  const UnitPolicy defaults;
  const PolicyFields fields = FieldsOf(policy.kind);
  std::string text =
      absl::StrCat(", \"policy\": \"", NameOf(policy.kind), "\"");
  const auto add_integer = [&](const char* key, int64_t value) {
    absl::StrAppend(&text, ", \"", key, "\": ", value);
  };
  const auto add_bool = [&](const char* key, bool value, bool by_default) {
    if (value == by_default) return;
    absl::StrAppend(&text, ", \"", key, "\": ", value ? "true" : "false");
  };
  if (fields.window) {
    add_integer("sinks", policy.num_sinks);
    add_integer("window", policy.window);
  }
  if (fields.chunks) {
    add_integer("chunk_len", policy.chunk_len);
    add_integer("chunks", policy.num_chunks);
  }
  if (policy.window_divisor != 0) {
    add_integer("window_divisor", policy.window_divisor);
  }
  add_bool("slot_positions", policy.slot_positions, defaults.slot_positions);
  add_bool("count_weight", policy.count_weight, defaults.count_weight);
  add_bool("full_prompt", policy.full_prompt, defaults.full_prompt);
  add_bool("per_query_head", policy.per_query_head, defaults.per_query_head);
  if (policy.kv_type != PlanKvType::kDefault) {
    absl::StrAppend(&text, ", \"kv_type\": \"", NameOf(policy.kv_type), "\"");
  }
  return text;
}

std::string MembersOf(const QueryHeadPlan& head) {
  std::string text;
  if (head.mask != HeadMask::kNone) {
    absl::StrAppend(&text, ", \"mask\": \"", NameOf(head.mask), "\"");
  }
  const auto add_float = [&](const char* key, float value) {
    absl::StrAppend(&text, ", \"", key, "\": ", FormatFloat(value));
  };
  if (head.output_scale != 1) add_float("output_scale", head.output_scale);
  if (head.sink_beta != 1) {
    add_float("sink_beta", head.sink_beta);
    add_float("sink_threshold", head.sink_threshold);
  }
  return text;
}

// What has one place in each layer, and how it is called.
struct Grid {
  const char* key;  // "kv_heads"
  int64_t num_layers;
  int64_t per_layer;
  std::vector<std::string> members;  // [num_layers * per_layer]
};

// Entries with equal members, in order of the first of each.
std::vector<std::vector<int64_t>> GroupByMembers(const Grid& grid) {
  std::vector<std::vector<int64_t>> groups;
  std::map<std::string, size_t> group_of;
  for (size_t i = 0; i < grid.members.size(); ++i) {
    const auto [it, is_new] = group_of.emplace(grid.members[i], groups.size());
    if (is_new) groups.emplace_back();
    groups[it->second].push_back(static_cast<int64_t>(i));
  }
  return groups;
}

void AppendRule(const Grid& grid, const std::string& layers,
                const std::string& places, const std::string& members,
                std::vector<std::string>* rules) {
  rules->push_back(absl::StrCat("    {\"layers\": \"", layers, "\", \"",
                                grid.key, "\": \"", places, "\"", members,
                                "}"));
}

// One rule for all layers in which the group has the same places.
void AppendGroup(const Grid& grid, const std::vector<int64_t>& group,
                 std::vector<std::string>* rules) {
  std::map<int64_t, std::vector<int64_t>> places_of;  // by layer
  for (const int64_t i : group) {
    places_of[i / grid.per_layer].push_back(i % grid.per_layer);
  }
  std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> same;
  std::map<std::vector<int64_t>, size_t> index_of;
  for (auto& [layer, places] : places_of) {
    const auto [it, is_new] = index_of.emplace(places, same.size());
    if (is_new) same.push_back({places, {}});
    same[it->second].second.push_back(layer);
  }
  for (const auto& [places, layers] : same) {
    AppendRule(grid, FormatIndexRanges(layers, grid.num_layers),
               FormatIndexRanges(places, grid.per_layer),
               grid.members[static_cast<size_t>(group[0])], rules);
  }
}

std::vector<std::string> UnitRules(const HeadPlan& plan) {
  Grid grid = {"kv_heads", plan.num_layers, plan.num_kv_heads, {}};
  for (const UnitPolicy& unit : plan.units) {
    grid.members.push_back(MembersOf(unit));
  }
  const auto groups = GroupByMembers(grid);
  // What most units have is said first, for all; the rest are exceptions.
  const auto most = std::max_element(
      groups.begin(), groups.end(),
      [](const auto& a, const auto& b) { return a.size() < b.size(); });
  std::vector<std::string> rules;
  AppendRule(grid, "all", "all",
             grid.members[static_cast<size_t>(most->front())], &rules);
  for (auto it = groups.begin(); it != groups.end(); ++it) {
    if (it != most) AppendGroup(grid, *it, &rules);
  }
  return rules;
}

std::vector<std::string> HeadRules(const HeadPlan& plan) {
  Grid grid = {"heads", plan.num_layers, plan.num_heads, {}};
  for (const QueryHeadPlan& head : plan.heads) {
    grid.members.push_back(MembersOf(head));
  }
  std::vector<std::string> rules;
  for (const auto& group : GroupByMembers(grid)) {
    if (grid.members[static_cast<size_t>(group[0])].empty()) continue;
    AppendGroup(grid, group, &rules);
  }
  return rules;
}

}  // namespace

std::string HeadPlanToText(const HeadPlan& plan) {
  std::string text = absl::StrCat(
      "{\n  \"version\": ", kHeadPlanVersion,
      ",\n  \"model_sha256\": ", Quote(plan.model_sha256),
      ",\n  \"layers\": ", plan.num_layers, ",\n  \"heads\": ", plan.num_heads,
      ",\n  \"kv_heads\": ", plan.num_kv_heads);
  if (!plan.origin.empty()) {
    absl::StrAppend(&text, ",\n  \"origin\": ", Quote(plan.origin));
  }
  if (plan.landmark_token != -1) {
    absl::StrAppend(&text, ",\n  \"landmark_token\": ", plan.landmark_token);
  }
  const auto append_list = [&](const char* key,
                               const std::vector<std::string>& rules) {
    if (rules.empty()) return;
    absl::StrAppend(&text, ",\n  \"", key, "\": [\n",
                    absl::StrJoin(rules, ",\n"), "\n  ]");
  };
  append_list("units", UnitRules(plan));
  append_list("query_heads", HeadRules(plan));
  return text + "\n}\n";
}

}  // namespace headwise
