#include "client/cli/plan_forecast.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/head_map_picture.h"
#include "client/cli/plan_picture.h"
#include "model/head_plan/policy_names.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

void Add(const KvBytes& bytes, KvBytes* sum) {
  sum->held += bytes.held;
  sum->reserved += bytes.reserved;
  sum->read += bytes.read;
}

std::vector<int> RanksOf(const HeadPlan& plan, const v1::HeadMap& map) {
  std::vector<int> ranks(plan.units.size(), 0);
  for (const v1::UnitPlacement& unit : map.units()) {
    const int64_t index = unit.layer() * plan.num_kv_heads + unit.kv_head();
    ranks[static_cast<size_t>(index)] = static_cast<int>(unit.rank());
  }
  return ranks;
}

std::vector<PolicyForecast> ByPolicy(const HeadPlan& plan,
                                     const KvForecast& kv) {
  std::vector<PolicyForecast> policies;
  std::map<std::string, size_t> index_of;
  for (const PolicyCount& count : CountPolicies(plan)) {
    index_of[count.description] = policies.size();
    policies.push_back({.description = count.description,
                        .kind = count.policy.kind,
                        .num_units = count.num_units});
  }
  for (size_t i = 0; i < plan.units.size(); ++i) {
    Add(kv.units[i], &policies[index_of[DescribePolicy(plan.units[i])]].kv);
  }
  return policies;
}

std::vector<WorkerForecast> ByWorker(const v1::HeadMap& map,
                                     const KvForecast& kv,
                                     double bytes_per_second) {
  std::vector<WorkerForecast> workers;
  for (const v1::WorkerShare& share : map.workers()) {
    WorkerForecast worker = {.name = share.name(),
                             .num_units = share.num_units(),
                             .weight_bytes = share.weight_bytes()};
    // A worker of the highest rank may hold no unit.
    if (share.rank() < kv.ranks.size()) worker.kv = kv.ranks[share.rank()];
    worker.ms_per_token =
        static_cast<double>(worker.weight_bytes + worker.kv.read) /
        (bytes_per_second * share.speed()) * 1000;
    workers.push_back(worker);
  }
  return workers;
}

std::string Percent(int64_t part, int64_t whole) {
  if (whole == 0) return "-";
  return absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(part) /
                                        static_cast<double>(whole));
}

Json BytesToJson(const KvBytes& bytes) {
  return {{"held_bytes", bytes.held},
          {"reserved_bytes", bytes.reserved},
          {"read_bytes_per_token", bytes.read}};
}

}  // namespace

PlanForecast ForecastPlan(const HeadPlan& plan, const v1::HeadMap& map,
                          const PlanForecastOptions& options) {
  PlanForecast forecast = {.options = options};
  forecast.options.kv.unit_rank = RanksOf(plan, map);
  const KvForecast kv = ForecastKv(plan, forecast.options.kv);
  forecast.total = kv.total;
  forecast.full = kv.full;
  forecast.policies = ByPolicy(plan, kv);
  forecast.workers = ByWorker(map, kv, options.bytes_per_second);
  for (const WorkerForecast& worker : forecast.workers) {
    forecast.ms_per_token =
        std::max(forecast.ms_per_token, worker.ms_per_token);
  }
  if (options.memory_bytes > 0) {
    std::vector<int64_t> free_bytes;
    for (const WorkerForecast& worker : forecast.workers) {
      free_bytes.push_back(options.memory_bytes - worker.weight_bytes);
    }
    forecast.longest_context_len =
        LongestContext(plan, forecast.options.kv, free_bytes);
  }
  return forecast;
}

std::string RenderPlanForecast(const PlanForecast& forecast) {
  std::string out = absl::StrFormat(
      "one sequence of %d positions, KV %s where the plan names no type\n\n"
      "%-5s %10s %8s %10s %10s  %s\n",
      forecast.options.kv.context_len, KvTypeName(forecast.options.kv.kv_type),
      "units", "held", "of full", "reserved", "read", "policy");
  const auto append = [&](int64_t num_units, const KvBytes& kv,
                          absl::string_view what) {
    absl::StrAppendFormat(&out, "%5d %10s %8s %10s %10s  %s\n", num_units,
                          FormatBytes(kv.held),
                          Percent(kv.held, forecast.full.held),
                          FormatBytes(kv.reserved), FormatBytes(kv.read), what);
  };
  int64_t num_units = 0;
  for (const PolicyForecast& policy : forecast.policies) {
    num_units += policy.num_units;
    append(policy.num_units, policy.kv, policy.description);
  }
  append(num_units, forecast.total, "in all");
  append(num_units, forecast.full, "were all full");
  absl::StrAppendFormat(&out, "\n%5s %10s %10s %10s %10s %8s  %s\n", "units",
                        "weights", "held", "reserved", "read", "ms/token",
                        "worker");
  for (const WorkerForecast& worker : forecast.workers) {
    absl::StrAppendFormat(
        &out, "%5d %10s %10s %10s %10s %8.3f  %s\n", worker.num_units,
        FormatBytes(worker.weight_bytes), FormatBytes(worker.kv.held),
        FormatBytes(worker.kv.reserved), FormatBytes(worker.kv.read),
        worker.ms_per_token, worker.name);
  }
  absl::StrAppendFormat(
      &out, "\nforecast: %.3f ms for a token, at %.4g GB/s for speed 1\n",
      forecast.ms_per_token, forecast.options.bytes_per_second / 1e9);
  if (forecast.longest_context_len) {
    absl::StrAppendFormat(
        &out, "longest context with %s a worker: %d positions%s\n",
        FormatBytes(forecast.options.memory_bytes),
        *forecast.longest_context_len,
        *forecast.longest_context_len == kMaxForecastContext ? " and more"
                                                             : "");
  }
  return out;
}

Json PlanForecastToJson(const PlanForecast& forecast) {
  Json json = {{"context_len", forecast.options.kv.context_len},
               {"kv_type", KvTypeName(forecast.options.kv.kv_type)}};
  json.update(BytesToJson(forecast.total));
  json["full"] = BytesToJson(forecast.full);
  json["policies"] = Json::array();
  for (const PolicyForecast& policy : forecast.policies) {
    Json row = {{"policy", NameOf(policy.kind)},
                {"description", policy.description},
                {"num_units", policy.num_units}};
    row.update(BytesToJson(policy.kv));
    json["policies"].push_back(row);
  }
  json["workers"] = Json::array();
  for (const WorkerForecast& worker : forecast.workers) {
    Json row = {{"name", worker.name},
                {"num_units", worker.num_units},
                {"weight_bytes", worker.weight_bytes},
                {"ms_per_token", worker.ms_per_token}};
    row.update(BytesToJson(worker.kv));
    json["workers"].push_back(row);
  }
  json["bytes_per_second"] = forecast.options.bytes_per_second;
  json["ms_per_token"] = forecast.ms_per_token;
  if (forecast.longest_context_len) {
    json["longest_context_len"] = *forecast.longest_context_len;
  }
  return json;
}

}  // namespace headwise
