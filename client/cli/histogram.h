// How often values fall into ranges of equal width, and a picture of that.

#ifndef HEADWISE_CLIENT_CLI_HISTOGRAM_H_
#define HEADWISE_CLIENT_CLI_HISTOGRAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace headwise {

// Bin i has the values in [low + i * width, low + (i + 1) * width), the last
// one also those at its end.
struct Histogram {
  double low = 0;
  double width = 0;  // above 0 unless there are no bins
  std::vector<int64_t> counts;
  int64_t num_below = 0;  // values below all bins
  int64_t num_above = 0;

  double high() const {
    return low + width * static_cast<double>(counts.size());
  }
};

// At most max_bins bins, whose width is 1, 2 or 5 times a power of ten. They
// leave out at most one value of 200 at either end, so that a few far ones
// don't flatten the rest. Values that are not finite, or beyond 1e300, are not
// counted. Requires max_bins >= 2.
Histogram MakeHistogram(std::vector<double> values, int64_t max_bins);

struct HistogramPicture {
  std::string label;  // of the horizontal axis
  // Bins from here on are drawn as selected, others as not; nullopt: all alike.
  std::optional<double> selected_from;
};

// SVG for a page that has styles for its classes: axis, label, base,
// grid, bar, selected, mark. Says in words how many values lie outside of the
// bins.
std::string RenderHistogram(const Histogram& histogram,
                            const HistogramPicture& picture);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_HISTOGRAM_H_
