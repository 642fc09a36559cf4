#include "lab/titans/titans_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "lab/titans/titans_folder.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

struct Run {
  std::string name;
  Json lab;
  std::vector<double> losses;  // of each step
};

// Colours that are told apart without red and green (Okabe and Ito, 2008).
constexpr std::array<const char*, 8> kColours = {
    "#000000", "#0072B2", "#D55E00", "#009E73",
    "#CC79A7", "#E69F00", "#56B4E9", "#999999"};

absl::StatusOr<Run> ReadRun(const std::string& folder) {
  Run run;
  const std::filesystem::path path(folder);
  run.name = path.has_filename() ? path.filename().string()
                                 : path.parent_path().filename().string();
  HEADWISE_ASSIGN_OR_RETURN(const std::string lab,
                            ReadTextFile(folder + "/lab.json"));
  run.lab = Json::parse(lab, nullptr, /*allow_exceptions=*/false);
  HEADWISE_ASSIGN_OR_RETURN(const std::string csv,
                            ReadTextFile(folder + "/loss.csv"));
  const std::vector<std::string> lines = absl::StrSplit(csv, '\n');
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = absl::StrSplit(lines[i], ',');
    if (cells.size() <= 3) continue;
    const double loss = std::atof(cells[3].c_str());
    if (std::isfinite(loss)) run.losses.push_back(loss);  // skipped steps' none
  }
  if (!run.lab.is_object() || !run.lab.contains("manifest") ||
      run.losses.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": lab.json or loss.csv is no output of a run"));
  }
  return run;
}

std::string Number(const Json& json, int digits) {
  if (!json.is_number()) return "";
  return absl::StrFormat("%.*f", digits, json.get<double>());
}

// The member at a path, or null.
Json At(const Json& json, const std::vector<std::string>& path) {
  const Json* at = &json;
  for (const std::string& key : path) {
    const auto it = at->is_object() ? at->find(key) : at->end();
    if (!at->is_object() || it == at->end()) return nullptr;
    at = &*it;
  }
  return *at;
}

std::string Text(const Json& json) {
  return json.is_string() ? json.get<std::string>() : "";
}

std::set<int64_t> ContextsOf(const std::vector<Run>& runs) {
  std::set<int64_t> contexts;
  for (const Run& run : runs) {
    for (const Json& recall : At(run.lab, {"recall"})) {
      contexts.insert(recall.value("context", int64_t{0}));
    }
  }
  return contexts;
}

// "30/32", or empty.
std::string RecallCell(const Run& run, int64_t context) {
  for (const Json& recall : At(run.lab, {"recall"})) {
    if (recall.value("context", int64_t{0}) != context) continue;
    return absl::StrCat(recall.value("recalled", 0), "/",
                        recall.value("asked", 0));
  }
  return "";
}

// The shares of the longest context.
std::string ShareCell(const Run& run, const char* key) {
  const Json recall = At(run.lab, {"recall"});
  return recall.is_array() && !recall.empty()
             ? Number(recall.back().value(key, Json()), 6)
             : "";
}

std::vector<Row> TableOf(const std::vector<Run>& runs) {
  const std::set<int64_t> contexts = ContextsOf(runs);
  Row header = {"run",           "variant",    "task",       "memory",
                "momentum",      "forgetting", "parameters", "steps",
                "train_seconds", "loss",       "bits_512",   "bits_4096"};
  for (const int64_t context : contexts) {
    header.push_back(absl::StrCat("recall_", context));
  }
  header.insert(header.end(), {"theta_share", "alpha_share"});
  std::vector<Row> rows = {header};
  for (const Run& run : runs) {
    const auto setting = [&](std::vector<std::string> path) {
      path.insert(path.begin(), "manifest");
      return At(run.lab, path);
    };
    const bool has_memory =
        Text(setting({"config", "titans", "variant"})) != "swa";
    const auto memory = [&](const std::string& text) {
      return has_memory ? text : "";
    };
    const auto unless = [&](const char* key) {
      return memory(setting({key}) == Json(true) ? "no" : "yes");
    };
    Row row = {run.name,
               Text(setting({"config", "titans", "variant"})),
               Text(setting({"task"})),
               memory(Number(
                   setting({"config", "titans", "memory", "num_layers"}), 0)),
               unless("no_momentum"),
               unless("no_forgetting"),
               Number(At(run.lab, {"parameters"}), 0),
               Number(setting({"steps"}), 0),
               Number(At(run.lab, {"train_seconds"}), 0),
               Number(At(run.lab, {"final_loss"}), 4),
               Number(At(run.lab, {"held_out_bits_per_byte"}), 4),
               Number(At(run.lab, {"held_out_bits_per_byte_at_4096"}), 4)};
    for (const int64_t context : contexts) {
      row.push_back(RecallCell(run, context));
    }
    row.push_back(memory(ShareCell(run, "theta_share")));
    row.push_back(memory(ShareCell(run, "alpha_share")));
    rows.push_back(row);
  }
  return rows;
}

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::string SvgHead(double width, double height) {
  return absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
      "height=\"%.0f\" font-family=\"monospace\" font-size=\"12\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      width, height);
}

std::string SvgText(double x, double y, const std::string& text,
                    const char* colour) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n",
                         x, y, colour, Escaped(text));
}

std::string TableSvg(const std::vector<Row>& rows) {
  constexpr double kCharWidth = 7.3, kLineHeight = 20.0, kMargin = 10.0;
  std::vector<size_t> widths(rows[0].size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  size_t chars = 0;
  for (const size_t width : widths) chars += width + 2;
  const double total = 2 * kMargin + static_cast<double>(chars) * kCharWidth;
  std::string svg = SvgHead(
      total, 2 * kMargin + kLineHeight * static_cast<double>(rows.size()));
  for (size_t r = 0; r < rows.size(); ++r) {
    const double y = kMargin + kLineHeight * static_cast<double>(r);
    if (r % 2 == 0) {
      absl::StrAppendFormat(
          &svg,
          "<rect y=\"%.1f\" width=\"%.0f\" height=\"%.0f\" fill=\"%s\"/>\n", y,
          total, kLineHeight, r == 0 ? "#cccccc" : "#f2f2f2");
    }
    double x = kMargin;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      svg += SvgText(x, y + 14, rows[r][i], "black");
      x += static_cast<double>(widths[i] + 2) * kCharWidth;
    }
  }
  return svg + "</svg>\n";
}

constexpr size_t kMaxPoints = 200;

// Steps that a point of a curve is the mean of.
size_t StepsOfPoint(const std::vector<double>& losses) {
  return std::max<size_t>(1, losses.size() / kMaxPoints);
}

std::vector<double> Smoothed(const std::vector<double>& losses) {
  const size_t group = StepsOfPoint(losses);
  std::vector<double> means;
  for (size_t i = 0; i + group <= losses.size(); i += group) {
    double sum = 0.0;
    for (size_t j = i; j < i + group; ++j) sum += losses[j];
    means.push_back(sum / static_cast<double>(group));
  }
  return means;
}

// A line for each point of each curve.
std::string LossCsv(const std::vector<Run>& runs) {
  std::string csv = "run,step,loss\n";
  for (const Run& run : runs) {
    const std::vector<double> losses = Smoothed(run.losses);
    for (size_t i = 0; i < losses.size(); ++i) {
      absl::StrAppendFormat(&csv, "%s,%d,%.4f\n", run.name,
                            i * StepsOfPoint(run.losses), losses[i]);
    }
  }
  return csv;
}

std::string LossSvg(const std::vector<Run>& runs) {
  constexpr double kWidth = 900, kHeight = 420, kLeft = 60, kTop = 20;
  constexpr double kPlotWidth = 600, kPlotHeight = 350;
  double top = 0.0;
  for (const Run& run : runs) {
    for (const double loss : Smoothed(run.losses)) top = std::max(top, loss);
  }
  top = std::max(1.0, std::ceil(top));
  std::string svg = SvgHead(kWidth, kHeight);
  for (int i = 0; i <= 4; ++i) {
    const double y = kTop + kPlotHeight * i / 4;
    absl::StrAppendFormat(&svg,
                          "<line x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" "
                          "y2=\"%.1f\" stroke=\"#dddddd\"/>\n",
                          kLeft, kLeft + kPlotWidth, y, y);
    svg +=
        SvgText(10, y + 4, absl::StrFormat("%.2f", top * (4 - i) / 4), "black");
  }
  svg += SvgText(kLeft, kTop + kPlotHeight + 25,
                 "part of the run's steps (0 to all); loss in nats per "
                 "labelled token",
                 "black");
  for (size_t r = 0; r < runs.size(); ++r) {
    const std::vector<double> losses = Smoothed(runs[r].losses);
    const char* colour = kColours[r % kColours.size()];
    std::vector<std::string> points;
    for (size_t i = 0; i < losses.size(); ++i) {
      const double part =
          (static_cast<double>(i) + 0.5) / static_cast<double>(losses.size());
      points.push_back(
          absl::StrFormat("%.1f,%.1f", kLeft + kPlotWidth * part,
                          kTop + kPlotHeight * (1 - losses[i] / top)));
    }
    absl::StrAppendFormat(
        &svg,
        "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"%s "
        "points=\"%s\"/>\n",
        colour, r >= kColours.size() ? " stroke-dasharray=\"4 3\"" : "",
        absl::StrJoin(points, " "));
    svg += SvgText(
        kLeft + kPlotWidth + 15, kTop + 14 + 18 * static_cast<double>(r),
        absl::StrFormat("%s (%d steps)", runs[r].name, runs[r].losses.size()),
        colour);
  }
  return svg + "</svg>\n";
}

}  // namespace

absl::Status WriteTitansTable(const std::vector<std::string>& folders,
                              const std::string& prefix) {
  std::vector<Run> runs;
  for (const std::string& folder : folders) {
    HEADWISE_ASSIGN_OR_RETURN(Run run, ReadRun(folder));
    runs.push_back(std::move(run));
  }
  const std::vector<Row> rows = TableOf(runs);
  std::string csv;
  for (const Row& row : rows) {
    absl::StrAppend(&csv, absl::StrJoin(row, ","), "\n");
  }
  HEADWISE_RETURN_IF_ERROR(WriteTextFile(prefix + ".csv", csv));
  HEADWISE_RETURN_IF_ERROR(WriteTextFile(prefix + ".svg", TableSvg(rows)));
  HEADWISE_RETURN_IF_ERROR(WriteTextFile(prefix + "-loss.csv", LossCsv(runs)));
  return WriteTextFile(prefix + "-loss.svg", LossSvg(runs));
}

}  // namespace headwise
