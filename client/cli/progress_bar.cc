#include "client/cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_format.h"

namespace headwise {
namespace {

constexpr int kBarColumns = 40;

}  // namespace

std::string RenderProgress(const std::string& label, double fraction) {
  // NaN compares false and becomes 0.
  fraction = fraction > 0 ? std::min(fraction, 1.0) : 0.0;
  const int done = static_cast<int>(fraction * kBarColumns);
  return absl::StrFormat(
      "%s [%s%s] %3d %%", label.substr(0, 11), std::string(done, '#'),
      std::string(kBarColumns - done, '.'), static_cast<int>(fraction * 100));
}

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), is_terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() { Clear(); }

void ProgressBar::Show(double fraction) {
  if (!is_terminal_) return;
  const std::string line = RenderProgress(label_, fraction);
  if (line == shown_) return;
  std::fprintf(stderr, "\r%s", line.c_str());
  std::fflush(stderr);
  shown_ = line;
}

void ProgressBar::Clear() {
  if (shown_.empty()) return;
  std::fprintf(stderr, "\r%s\r", std::string(shown_.size(), ' ').c_str());
  std::fflush(stderr);
  shown_.clear();
}

}  // namespace headwise
