#include "client/cli/grid_picture.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace headwise {
namespace {

constexpr std::array<int, 7> kDistinctColors = {214, 117, 36, 227,
                                                32,  202, 175};

// Of the 6 x 6 x 6 cube: whether white letters are read better on it.
bool IsDark(int background) {
  const int in_cube = background - 16;
  const int red = in_cube / 36, green = in_cube / 6 % 6, blue = in_cube % 6;
  return 2 * red + 7 * green + blue < 16;
}

// A mark above every fifth layer: "0    5    10".
std::string LayerRuler(int64_t begin, int64_t end) {
  std::string ruler;
  for (int64_t layer = begin; layer < end; ++layer) {
    const auto column = static_cast<size_t>(layer - begin);
    if (layer % 5 != 0 || ruler.size() > column) continue;
    ruler.resize(column, ' ');
    absl::StrAppend(&ruler, layer);
  }
  return ruler;
}

}  // namespace

int DistinctColor(int64_t index) {
  return kDistinctColors[static_cast<size_t>(index) % kDistinctColors.size()];
}

std::string Paint(const std::string& text, int background, bool color) {
  if (!color || background < 0) return text;
  return absl::StrFormat("\x1b[%d;48;5;%dm%s\x1b[0m",
                         IsDark(background) ? 97 : 30, background, text);
}

void AppendGrid(const Grid& grid, const PictureOptions& options,
                std::string* out) {
  // At least two digits, so that small maps stand alike.
  const size_t digits =
      std::max<size_t>(2, absl::StrCat(grid.num_rows - 1).size());
  const size_t margin = grid.row_label.size() + 1 + digits;
  const int64_t band =
      std::max<int64_t>(1, options.columns - static_cast<int64_t>(margin));
  for (int64_t begin = 0; begin < grid.num_layers; begin += band) {
    const int64_t end = std::min(begin + band, grid.num_layers);
    absl::StrAppendFormat(out, "\n%*s  %s\n", static_cast<int>(margin) - 2,
                          "layer", LayerRuler(begin, end));
    for (int64_t row = 0; row < grid.num_rows; ++row) {
      absl::StrAppendFormat(out, "%s %-*d", grid.row_label,
                            static_cast<int>(digits), row);
      for (int64_t layer = begin; layer < end; ++layer) {
        const GridCell cell = grid.cell(layer, row);
        absl::StrAppend(out, Paint(std::string(1, cell.letter), cell.background,
                                   options.color));
      }
      absl::StrAppend(out, "\n");
    }
  }
}

bool WantsColor(bool is_terminal) {
  const char* no_color = std::getenv("NO_COLOR");
  return is_terminal && (no_color == nullptr || no_color[0] == '\0');
}

PictureOptions StdoutPicture() {
  PictureOptions options;
  options.color = WantsColor(isatty(STDOUT_FILENO) == 1);
  winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
    options.columns = size.ws_col;
  }
  return options;
}

}  // namespace headwise
