#include "client/cli/calibrate_output.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kNumBest = 10;

struct BestHead {
  int64_t layer = 0;
  int64_t head = 0;
  double score = 0.0;
};

std::vector<BestHead> BestHeads(const HeadScores& scores) {
  const bool of_heads = !scores.heads.empty();
  const std::vector<double>& values = of_heads ? scores.heads : scores.units;
  const int64_t per_layer = of_heads ? scores.num_heads : scores.num_kv_heads;
  std::vector<int64_t> order = RankByScore(values);
  order.resize(std::min(order.size(), kNumBest));
  std::vector<BestHead> best;
  for (const int64_t i : order) {
    best.push_back(
        {i / per_layer, i % per_layer, values[static_cast<size_t>(i)]});
  }
  return best;
}

double ReuseOf(const v1::CalibrationResult& result) {
  return static_cast<double>(result.rows_without_reuse()) /
         static_cast<double>(std::max<int64_t>(1, result.rows()));
}

}  // namespace

HeadScores ScoresOf(const v1::HeadScores& message) {
  HeadScores scores;
  scores.model_sha256 = message.model_sha256();
  scores.method = message.method();
  scores.num_layers = message.num_layers();
  scores.num_heads = message.num_heads();
  scores.num_kv_heads = message.num_kv_heads();
  scores.units.assign(message.units().begin(), message.units().end());
  scores.heads.assign(message.heads().begin(), message.heads().end());
  for (const auto& detail : message.details()) {
    scores.details[detail.name()].assign(detail.values().begin(),
                                         detail.values().end());
  }
  return scores;
}

HeadHeatMap HeatMapOf(const HeadScores& scores) {
  HeadHeatMap map;
  const bool of_heads = !scores.heads.empty();
  map.title = absl::StrCat(scores.method, " score");
  map.row_label = of_heads ? "head" : "kv head";
  map.num_layers = scores.num_layers;
  map.num_rows = of_heads ? scores.num_heads : scores.num_kv_heads;
  map.values = of_heads ? scores.heads : scores.units;
  return map;
}

Json CalibrationToJson(const v1::CalibrationResult& result, double seconds) {
  const HeadScores scores = ScoresOf(result.scores());
  Json figures = Json::object();
  for (const auto& figure : result.figures()) {
    figures[figure.name()] = figure.value();
  }
  Json best = Json::array();
  for (const BestHead& head : BestHeads(scores)) {
    best.push_back({{"layer", head.layer},
                    {scores.heads.empty() ? "kv_head" : "head", head.head},
                    {"score", head.score}});
  }
  Json json = {{"method", scores.method},
               {"model_sha256", scores.model_sha256},
               {"seconds", seconds},
               {"rows", result.rows()},
               {"rows_without_reuse", result.rows_without_reuse()},
               {"reuse", ReuseOf(result)},
               {"figures", figures},
               {"best", best}};
  if (result.has_check()) {
    json["check"] = {{"passed", result.check().passed()},
                     {"verdict", result.check().verdict()}};
  }
  return json;
}

std::string RenderCalibration(const v1::CalibrationResult& result,
                              double seconds) {
  const HeadScores scores = ScoresOf(result.scores());
  std::string text = absl::StrFormat(
      "method %s: %d rows in %.1f s; a forward pass per head would have run %d "
      "(%.1f x)\n",
      scores.method, result.rows(), seconds, result.rows_without_reuse(),
      ReuseOf(result));
  for (const auto& figure : result.figures()) {
    absl::StrAppendFormat(&text, "  %-28s %.6g\n", figure.name(),
                          figure.value());
  }
  absl::StrAppendFormat(&text, "best (layer.%s)",
                        scores.heads.empty() ? "kv_head" : "head");
  for (const BestHead& head : BestHeads(scores)) {
    absl::StrAppendFormat(&text, "  %d.%d %.3g", head.layer, head.head,
                          head.score);
  }
  text += "\n";
  if (result.has_check()) {
    absl::StrAppend(&text, "check ",
                    result.check().passed() ? "passed: " : "FAILED: ",
                    result.check().verdict(), "\n");
  }
  return text;
}

absl::Status WriteTextFile(const std::string& text, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace headwise
