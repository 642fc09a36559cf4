#include "client/cli/head_heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace headwise {
namespace {

constexpr int kSteps = 10;
// Viridis (van der Walt and Smith, 2015) at ten even steps; and of the 256
// colours of terminals those next to it whose brightness grows with each step.
constexpr std::array<std::array<int, 3>, kSteps> kRamp = {{{68, 1, 84},
                                                           {72, 40, 120},
                                                           {62, 73, 137},
                                                           {49, 104, 142},
                                                           {38, 130, 142},
                                                           {31, 158, 137},
                                                           {53, 183, 121},
                                                           {110, 206, 88},
                                                           {181, 222, 43},
                                                           {253, 231, 37}}};
constexpr std::array<int, kSteps> kTerminalRamp = {53, 54, 25, 61,  30,
                                                   36, 72, 77, 148, 220};

// Of the finite values; 0 to 0 if there is none.
struct ValueRange {
  double min = 0;
  double max = 0;
};

ValueRange RangeOf(const std::vector<double>& values) {
  ValueRange range;
  bool is_first = true;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    range.min = is_first ? value : std::min(range.min, value);
    range.max = is_first ? value : std::max(range.max, value);
    is_first = false;
  }
  return range;
}

// Where `value` lies in the range, 0 to 1; 0 if all values are equal.
double FractionOf(double value, const ValueRange& range) {
  // Halves, so that the difference of the largest doubles is finite.
  const double width = range.max / 2 - range.min / 2;
  if (width <= 0) return 0;
  return std::clamp((value / 2 - range.min / 2) / width, 0.0, 1.0);
}

int StepOf(double value, const ValueRange& range) {
  const auto step = static_cast<int>(FractionOf(value, range) * kSteps);
  return std::min(step, kSteps - 1);
}

double ValueAt(const HeadHeatMap& map, int64_t layer, int64_t row) {
  return map.values[static_cast<size_t>(layer * map.num_rows + row)];
}

// "#31688e", straight lines between the steps.
std::string SvgColor(double fraction) {
  const double at = fraction * (kSteps - 1);
  const int low = std::min(static_cast<int>(at), kSteps - 2);
  std::string color = "#";
  for (size_t c = 0; c < 3; ++c) {
    const double from = kRamp[static_cast<size_t>(low)][c];
    const double to = kRamp[static_cast<size_t>(low) + 1][c];
    absl::StrAppendFormat(&color, "%02x",
                          std::lround(from + (to - from) * (at - low)));
  }
  return color;
}

std::string EscapeXml(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// In pixels.
constexpr int64_t kCell = 16;
constexpr int64_t kLeft = 64;
constexpr int64_t kTop = 56;
constexpr int64_t kLegend = 56;     // height below the grid
constexpr int64_t kMinWidth = 320;  // of the grid, for the title's sake
constexpr int64_t kRampWidth = 160;

std::string SvgText(int64_t x, int64_t y, const char* anchor,
                    const std::string& text) {
  return absl::StrCat("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"",
                      anchor, "\">", EscapeXml(text), "</text>\n");
}

void AppendAxes(const HeadHeatMap& map, std::string* svg) {
  for (int64_t layer = 0; layer < map.num_layers; layer += 5) {
    absl::StrAppend(svg, SvgText(kLeft + layer * kCell + kCell / 2, kTop - 4,
                                 "middle", absl::StrCat(layer)));
  }
  absl::StrAppend(svg, SvgText(kLeft, kTop - 18, "start", "layer"));
  absl::StrAppend(svg, SvgText(kLeft - 6, kTop - 4, "end", map.row_label));
  for (int64_t row = 0; row < map.num_rows; ++row) {
    absl::StrAppend(svg, SvgText(kLeft - 6, kTop + row * kCell + 12, "end",
                                 absl::StrCat(row)));
  }
}

void AppendCells(const HeadHeatMap& map, const ValueRange& range,
                 std::string* svg) {
  for (int64_t layer = 0; layer < map.num_layers; ++layer) {
    for (int64_t row = 0; row < map.num_rows; ++row) {
      const double value = ValueAt(map, layer, row);
      const bool is_there = std::isfinite(value);
      absl::StrAppendFormat(
          svg,
          "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\">"
          "<title>layer %d, %s %d: %s</title></rect>\n",
          kLeft + layer * kCell, kTop + row * kCell, kCell - 1, kCell - 1,
          is_there ? SvgColor(FractionOf(value, range)) : "#eeeeee", layer,
          EscapeXml(map.row_label), row,
          is_there ? absl::StrFormat("%.6g", value) : "none");
    }
  }
}

void AppendRamp(const ValueRange& range, int64_t y, std::string* svg) {
  for (int64_t x = 0; x < kRampWidth; x += 4) {
    const double fraction =
        static_cast<double>(x) / static_cast<double>(kRampWidth - 4);
    absl::StrAppend(svg, "<rect x=\"", kLeft + x, "\" y=\"", y,
                    "\" width=\"4\" height=\"12\" fill=\"", SvgColor(fraction),
                    "\"/>\n");
  }
  absl::StrAppend(
      svg, SvgText(kLeft, y + 26, "start", absl::StrFormat("%.4g", range.min)),
      SvgText(kLeft + kRampWidth, y + 26, "end",
              absl::StrFormat("%.4g", range.max)));
}

}  // namespace

std::string RenderHeatMap(const HeadHeatMap& map,
                          const PictureOptions& options) {
  const ValueRange range = RangeOf(map.values);
  std::string out = map.title + "\n";
  AppendGrid({.num_layers = map.num_layers,
              .num_rows = map.num_rows,
              .row_label = map.row_label,
              .cell =
                  [&](int64_t layer, int64_t row) {
                    const double value = ValueAt(map, layer, row);
                    if (!std::isfinite(value)) return GridCell{};
                    const int step = StepOf(value, range);
                    return GridCell{static_cast<char>('0' + step),
                                    kTerminalRamp[static_cast<size_t>(step)]};
                  }},
             options, &out);
  absl::StrAppend(&out, "\n");
  for (int step = 0; step < kSteps; ++step) {
    absl::StrAppend(
        &out, Paint(absl::StrCat(step),
                    kTerminalRamp[static_cast<size_t>(step)], options.color));
  }
  absl::StrAppendFormat(&out, "  from %.4g to %.4g in even steps\n", range.min,
                        range.max);
  return out;
}

std::string RenderHeatMapSvg(const HeadHeatMap& map) {
  const ValueRange range = RangeOf(map.values);
  const int64_t width =
      kLeft + std::max(map.num_layers * kCell, kMinWidth) + kCell;
  const int64_t bottom = kTop + map.num_rows * kCell;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
      "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"11\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      width, bottom + kLegend, width, bottom + kLegend);
  absl::StrAppend(&svg, "<g font-size=\"14\">",
                  SvgText(kLeft, 20, "start", map.title), "</g>\n");
  AppendAxes(map, &svg);
  AppendCells(map, range, &svg);
  AppendRamp(range, bottom + kCell, &svg);
  return svg + "</svg>\n";
}

}  // namespace headwise
