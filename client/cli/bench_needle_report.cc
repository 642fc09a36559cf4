#include "client/cli/bench_needle_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/head_map_picture.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

int64_t Sum(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

// Of `measured` beyond `forecast`.
double DifferencePercent(int64_t measured, int64_t forecast) {
  if (forecast == 0) return 0;
  return 100.0 * static_cast<double>(measured - forecast) /
         static_cast<double>(forecast);
}

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0
                    : static_cast<double>(part) / static_cast<double>(whole);
}

struct Line {
  double slope = 0;
  double intercept = 0;
};

// nullopt if all x are equal.
std::optional<Line> LeastSquares(const std::vector<double>& x,
                                 const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0;
  double xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  if (x.empty() || xx == 0) return std::nullopt;
  return Line{xy / xx, mean_y - xy / xx * mean_x};
}

Json DepthToJson(const NeedleDepth& depth) {
  Json misses = Json::array();
  for (const NeedleMiss& miss : depth.misses) {
    misses.push_back({{"seed", miss.seed},
                      {"expected", miss.expected},
                      {"answer", miss.answer}});
  }
  return {{"depth", depth.depth},
          {"position", depth.position},
          {"hits", depth.num_hits()},
          {"tests", depth.num_tests},
          {"misses", misses}};
}

Json KvToJson(const NeedleRunReport& run) {
  const int64_t forecast = Sum(run.kv_forecast_bytes);
  Json json = {{"positions", run.kv_length},
               {"held_bytes", nullptr},
               {"held_bytes_by_rank", run.kv_held_bytes},
               {"forecast_bytes", forecast},
               {"forecast_bytes_by_rank", run.kv_forecast_bytes},
               {"difference_percent", nullptr},
               {"share_of_full", Share(forecast, run.kv_full_bytes)}};
  if (!run.kv_held_bytes.empty()) {
    const int64_t held = Sum(run.kv_held_bytes);
    json["held_bytes"] = held;
    json["difference_percent"] = DifferencePercent(held, forecast);
  }
  return json;
}

Json MemoryToJson(const NeedleRunReport& run) {
  const int64_t forecast = run.weight_bytes + run.peak_kv_forecast_bytes;
  return {{"peak_resident_bytes", run.peak_resident_bytes},
          {"forecast_bytes", forecast},
          {"difference_percent",
           DifferencePercent(run.peak_resident_bytes, forecast)},
          {"weight_bytes", run.weight_bytes},
          {"peak_kv_forecast_bytes", run.peak_kv_forecast_bytes},
          {"loaded_resident_bytes", run.loaded_resident_bytes}};
}

Json RunToJson(const NeedleRunReport& run) {
  Json json = {{"hits", run.num_hits()},
               {"tests", run.num_tests()},
               {"accuracy", Share(run.num_hits(), run.num_tests())},
               {"by_depth", Json::array()}};
  for (const NeedleDepth& depth : run.depths) {
    json["by_depth"].push_back(DepthToJson(depth));
  }
  json["prefill"] = {{"tokens", run.prefill_tokens},
                     {"seconds", run.prefill_seconds},
                     {"tokens_per_s", run.prefill_rate()}};
  json["decode"] = {{"median_ms_per_token", run.median_token_seconds * 1000}};
  json["kv"] = KvToJson(run);
  json["memory"] = MemoryToJson(run);
  json["shares_text"] = run.shares_text;
  json["parallel"] = run.parallel;
  json["prompt_tokens_run"] = run.prompt_tokens_run;
  json["prompt_tokens_independent"] = run.prompt_tokens_independent;
  return json;
}

std::string RenderBytes(const NeedleRunReport& run) {
  const int64_t forecast = Sum(run.kv_forecast_bytes);
  const int64_t held = Sum(run.kv_held_bytes);
  const int64_t memory = run.weight_bytes + run.peak_kv_forecast_bytes;
  std::string out = "  KV held    ";
  if (run.kv_held_bytes.empty()) {
    absl::StrAppendFormat(&out, "not measured; forecast %s",
                          FormatBytes(forecast));
  } else {
    absl::StrAppendFormat(&out, "%s, forecast %s (%+.2f %%)", FormatBytes(held),
                          FormatBytes(forecast),
                          DifferencePercent(held, forecast));
    for (size_t rank = 0;
         run.kv_held_bytes.size() > 1 && rank < run.kv_held_bytes.size();
         ++rank) {
      absl::StrAppendFormat(&out, "%s%s on rank %d", rank == 0 ? "; " : ", ",
                            FormatBytes(run.kv_held_bytes[rank]), rank);
    }
  }
  absl::StrAppendFormat(
      &out,
      "; %.1f %% of full\n  memory     peak %s, forecast %s (%+.2f %%): "
      "weights %s, KV of all that ran at once %s\n",
      100 * Share(forecast, run.kv_full_bytes),
      FormatBytes(run.peak_resident_bytes), FormatBytes(memory),
      DifferencePercent(run.peak_resident_bytes, memory),
      FormatBytes(run.weight_bytes), FormatBytes(run.peak_kv_forecast_bytes));
  return out;
}

std::string RenderRun(const std::string& title, const NeedleRunReport& run) {
  std::string out =
      absl::StrFormat("%s: %d of %d (%.1f %%)\n  depth  position  hits\n",
                      title, run.num_hits(), run.num_tests(),
                      100 * Share(run.num_hits(), run.num_tests()));
  for (const NeedleDepth& depth : run.depths) {
    absl::StrAppendFormat(&out, "  %4.0f %% %9d %3d/%d\n", 100 * depth.depth,
                          depth.position, depth.num_hits(), depth.num_tests);
  }
  absl::StrAppendFormat(&out,
                        "  prefill    %.1f tokens/s (%d in %.2f s)\n"
                        "  decode     %.2f ms a token, median\n",
                        run.prefill_rate(), run.prefill_tokens,
                        run.prefill_seconds, run.median_token_seconds * 1000);
  out += RenderBytes(run);
  absl::StrAppendFormat(&out,
                        "  ran        %d prompt tokens, %d at a time; whole "
                        "prompts have %d\n",
                        run.prompt_tokens_run, run.parallel,
                        run.prompt_tokens_independent);
  return out;
}

}  // namespace

int64_t NeedleRunReport::num_tests() const {
  int64_t total = 0;
  for (const NeedleDepth& depth : depths) total += depth.num_tests;
  return total;
}

int64_t NeedleRunReport::num_hits() const {
  int64_t total = 0;
  for (const NeedleDepth& depth : depths) total += depth.num_hits();
  return total;
}

int64_t NeedleContextReport::num_depths_lost() const {
  int64_t lost = 0;
  for (size_t i = 0; baseline && i < run.depths.size(); ++i) {
    if (run.depths[i].num_hits() < baseline->depths[i].num_hits()) ++lost;
  }
  return lost;
}

std::optional<PrefillSlope> FitPrefill(
    absl::Span<const NeedleContextReport> contexts) {
  std::vector<double> tokens, seconds, log_tokens, log_seconds;
  for (const NeedleContextReport& context : contexts) {
    tokens.push_back(static_cast<double>(context.run.prefill_tokens));
    seconds.push_back(context.run.prefill_seconds);
    log_tokens.push_back(std::log(tokens.back()));
    log_seconds.push_back(std::log(seconds.back()));
  }
  const std::optional<Line> line = LeastSquares(tokens, seconds);
  const std::optional<Line> power = LeastSquares(log_tokens, log_seconds);
  if (!line || !power) return std::nullopt;
  return PrefillSlope{line->slope, line->intercept, power->slope};
}

std::string RenderNeedleReport(const NeedleReport& report) {
  std::string out = absl::StrFormat(
      "%s in %s, %s\n", report.needle,
      report.haystack.empty() ? "filler" : report.haystack,
      report.plan.empty() ? "every unit full" : "plan " + report.plan);
  for (const NeedleContextReport& context : report.contexts) {
    absl::StrAppend(
        &out, "\n",
        RenderRun(absl::StrCat("context ", context.context_len), context.run));
    if (context.baseline) {
      absl::StrAppend(&out,
                      RenderRun(absl::StrCat("context ", context.context_len,
                                             " with every unit full"),
                                *context.baseline));
      absl::StrAppendFormat(
          &out, "  the plan has fewer hits at %d of %d depths\n",
          context.num_depths_lost(), context.run.depths.size());
    }
  }
  if (const auto slope = FitPrefill(report.contexts)) {
    absl::StrAppendFormat(
        &out,
        "\nprefill: %.4f ms a token more, %.2f s at 0 (least squares); time "
        "grows as length to the power %.3f\n",
        slope->seconds_per_token * 1000, slope->intercept_seconds,
        slope->exponent);
  }
  return out;
}

Json NeedleReportToJson(const NeedleReport& report) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? Json() : Json(text);
  };
  Json json = {{"model", report.model},
               {"plan", text_or_null(report.plan)},
               {"plan_hash", text_or_null(report.plan_hash)},
               {"needle", report.needle},
               {"haystack", text_or_null(report.haystack)},
               {"seeds", report.num_seeds},
               {"contexts", Json::array()},
               {"prefill_slope", nullptr}};
  for (const NeedleContextReport& context : report.contexts) {
    Json row = {{"context", context.context_len}};
    row.update(RunToJson(context.run));
    row["baseline"] = nullptr;
    row["depths_lost"] = nullptr;
    if (context.baseline) {
      row["baseline"] = RunToJson(*context.baseline);
      row["depths_lost"] = context.num_depths_lost();
    }
    json["contexts"].push_back(row);
  }
  if (const auto slope = FitPrefill(report.contexts)) {
    json["prefill_slope"] = {{"seconds_per_token", slope->seconds_per_token},
                             {"intercept_seconds", slope->intercept_seconds},
                             {"exponent", slope->exponent}};
  }
  return json;
}

}  // namespace headwise
