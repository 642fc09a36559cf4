#include "client/cli/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/html_text.h"

namespace headwise {
namespace {

// A value of this many at either end may lie outside of the bins.
constexpr size_t kOutsideOneIn = 200;

constexpr double kMax = 1e300;  // so that no difference overflows

// The picture's own units; a page scales it to the width that it has.
constexpr double kPictureWidth = 420;
constexpr double kPictureHeight = 190;
constexpr double kPlotLeft = 44;
constexpr double kPlotRight = 412;
constexpr double kPlotTop = 20;
constexpr double kPlotBottom = 148;

// The least of 1, 2 and 5 times a power of ten that isn't below `least`.
double RoundStep(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    // log10 and pow may be an ulp off where `least` is such a number itself.
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

double ToX(const Histogram& histogram, double value) {
  return kPlotLeft + (value - histogram.low) /
                         (histogram.high() - histogram.low) *
                         (kPlotRight - kPlotLeft);
}

std::string Count(int64_t count) {
  return absl::StrCat(GroupedDigits(count),
                      count == 1 ? " document" : " documents");
}

// Few enough characters for the left margin.
std::string ShortCount(int64_t count) {
  const auto value = static_cast<double>(count);
  if (count < 10'000) return GroupedDigits(count);
  if (count < 1'000'000) return absl::StrFormat("%.4gk", value / 1e3);
  if (count < 1'000'000'000) return absl::StrFormat("%.4gM", value / 1e6);
  return absl::StrFormat("%.4gG", value / 1e9);
}

void AppendCountAxis(int64_t max_count, std::string* out) {
  // Whole numbers, two to five lines.
  const auto step = static_cast<int64_t>(
      std::max(1.0, RoundStep(static_cast<double>(max_count) / 5)));
  for (int64_t count = 0; count <= max_count; count += step) {
    const double y = kPlotBottom - static_cast<double>(count) /
                                       static_cast<double>(max_count) *
                                       (kPlotBottom - kPlotTop);
    absl::StrAppendFormat(
        out,
        "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" "
        "y2=\"%.1f\"/><text class=\"axis\" x=\"%.1f\" y=\"%.1f\" "
        "text-anchor=\"end\">%s</text>\n",
        count == 0 ? "base" : "grid", kPlotLeft, kPlotRight, y, y,
        kPlotLeft - 6, y + 4, ShortCount(count));
  }
}

void AppendValueAxis(const Histogram& histogram, const std::string& label,
                     std::string* out) {
  const double step = RoundStep((histogram.high() - histogram.low) / 6);
  const auto first =
      static_cast<int64_t>(std::ceil(histogram.low / step - 1e-9));
  const auto last =
      static_cast<int64_t>(std::floor(histogram.high() / step + 1e-9));
  for (int64_t i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * step;
    absl::StrAppendFormat(out,
                          "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"middle\">%.6g</text>\n",
                          ToX(histogram, value), kPlotBottom + 16, value);
  }
  absl::StrAppendFormat(out,
                        "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" "
                        "text-anchor=\"middle\">%s</text>\n",
                        (kPlotLeft + kPlotRight) / 2, kPictureHeight - 8,
                        EscapeHtml(label));
}

void AppendBar(const char* style, double left, double right, double height,
               std::string* out) {
  if (right <= left) return;
  absl::StrAppendFormat(out,
                        "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" "
                        "width=\"%.2f\" height=\"%.2f\"/>",
                        style, left, kPlotBottom - height, right - left,
                        height);
}

// A bin that the selection cuts is drawn in two pieces.
void AppendBars(const Histogram& histogram, const HistogramPicture& picture,
                int64_t max_count, std::string* out) {
  const double selected_x =
      picture.selected_from ? std::clamp(ToX(histogram, *picture.selected_from),
                                         kPlotLeft, kPlotRight)
                            : kPlotRight;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    const int64_t count = histogram.counts[i];
    if (count == 0) continue;
    const double low = histogram.low + static_cast<double>(i) * histogram.width;
    const double left = ToX(histogram, low) + 0.5;
    const double right = ToX(histogram, low + histogram.width) - 0.5;
    // A bin of one document among millions is still to be seen.
    const double height = std::max(1.0, static_cast<double>(count) /
                                            static_cast<double>(max_count) *
                                            (kPlotBottom - kPlotTop));
    absl::StrAppendFormat(out, "<g><title>%.6g to %.6g: %s</title>", low,
                          low + histogram.width, Count(count));
    AppendBar("bar", left, std::min(right, selected_x), height, out);
    AppendBar("selected", std::max(left, selected_x), right, height, out);
    absl::StrAppend(out, "</g>\n");
  }
}

void AppendMark(const Histogram& histogram, double value, std::string* out) {
  if (value < histogram.low || value > histogram.high()) return;
  const double x = ToX(histogram, value);
  const bool is_left = x < (kPlotLeft + kPlotRight) / 2;
  absl::StrAppendFormat(
      out,
      "<line class=\"mark\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.1f\" y2=\"%.1f\"/>"
      "<text class=\"axis\" x=\"%.2f\" y=\"%.1f\" text-anchor=\"%s\">"
      "selected from %.4g</text>\n",
      x, x, kPlotTop - 8, kPlotBottom, is_left ? x + 5 : x - 5, kPlotTop - 4,
      is_left ? "start" : "end", value);
}

}  // namespace

Histogram MakeHistogram(std::vector<double> values, int64_t max_bins) {
  values.erase(std::remove_if(values.begin(), values.end(),
                              [](double v) { return !(std::abs(v) < kMax); }),
               values.end());
  Histogram histogram;
  if (values.empty()) return histogram;
  std::sort(values.begin(), values.end());
  const size_t num_outside = values.size() / kOutsideOneIn;
  const double first = values[num_outside];
  const double last = values[values.size() - 1 - num_outside];
  // Bins no finer than doubles of that size can tell apart.
  const double finest =
      std::max(std::max(std::abs(first), std::abs(last)) * 0x1p-40, 0x1p-900);
  histogram.width = RoundStep(
      std::max((last - first) / static_cast<double>(max_bins - 1), finest));
  histogram.low = std::floor(first / histogram.width) * histogram.width;
  const auto num_bins = std::clamp<int64_t>(
      static_cast<int64_t>((last - histogram.low) / histogram.width) + 1, 1,
      max_bins);
  histogram.counts.resize(static_cast<size_t>(num_bins));
  for (const double value : values) {
    if (value < histogram.low) {
      ++histogram.num_below;
    } else if (value > histogram.high()) {
      ++histogram.num_above;
    } else {
      const auto bin =
          static_cast<int64_t>((value - histogram.low) / histogram.width);
      ++histogram.counts[static_cast<size_t>(std::min(bin, num_bins - 1))];
    }
  }
  return histogram;
}

std::string RenderHistogram(const Histogram& histogram,
                            const HistogramPicture& picture) {
  int64_t max_count = 0;
  int64_t sum = 0;
  for (const int64_t count : histogram.counts) {
    max_count = std::max(max_count, count);
    sum += count;
  }
  if (max_count == 0) {
    return absl::StrCat("<p class=\"note\">No values of ",
                        EscapeHtml(picture.label), ".</p>\n");
  }
  std::string out = absl::StrFormat(
      "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"Histogram of "
      "%s, %s\">\n",
      kPictureWidth, kPictureHeight, EscapeHtml(picture.label), Count(sum));
  AppendCountAxis(max_count, &out);
  AppendBars(histogram, picture, max_count, &out);
  AppendValueAxis(histogram, picture.label, &out);
  if (picture.selected_from) {
    AppendMark(histogram, *picture.selected_from, &out);
  }
  absl::StrAppend(&out, "</svg>\n");
  if (histogram.num_below + histogram.num_above > 0) {
    absl::StrAppend(&out, "<p class=\"note\">Not drawn: ",
                    GroupedDigits(histogram.num_below), " below and ",
                    GroupedDigits(histogram.num_above), " above.</p>\n");
  }
  return out;
}

}  // namespace headwise
