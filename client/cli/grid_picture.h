// Layers x heads as a picture of characters: one row for each head, one column
// for each layer.

#ifndef HEADWISE_CLIENT_CLI_GRID_PICTURE_H_
#define HEADWISE_CLIENT_CLI_GRID_PICTURE_H_

#include <cstdint>
#include <functional>
#include <string>

namespace headwise {

struct PictureOptions {
  bool color = false;  // ANSI colours beside the letters, never in their place
  int columns = 80;    // of the terminal; >= 20
};

// Okabe and Ito's colours, which people with any colour vision can tell apart,
// as the nearest of the 256 that terminals have: orange, sky blue, bluish
// green, yellow, blue, vermilion, reddish purple; again from the first after
// the last. Requires index >= 0.
int DistinctColor(int64_t index);

// `text` on a background of the 256; as it is if !color or background < 0.
std::string Paint(const std::string& text, int background, bool color);

struct GridCell {
  char letter = '.';
  int background = -1;  // -1: none
};

struct Grid {
  int64_t num_layers = 0;
  int64_t num_rows = 0;   // heads of a layer
  std::string row_label;  // "kv head"
  std::function<GridCell(int64_t layer, int64_t row)> cell;
};

// Bands of layers that fit, each under a ruler and with an empty line above.
void AppendGrid(const Grid& grid, const PictureOptions& options,
                std::string* out);

// Colours suit a terminal unless NO_COLOR says otherwise.
bool WantsColor(bool is_terminal);

// For standard output: WantsColor of it, and its width.
PictureOptions StdoutPicture();

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_GRID_PICTURE_H_
