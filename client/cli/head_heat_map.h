// Scores of heads as a heat map: in a terminal, and as an SVG file.

#ifndef HEADWISE_CLIENT_CLI_HEAD_HEAT_MAP_H_
#define HEADWISE_CLIENT_CLI_HEAD_HEAT_MAP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/grid_picture.h"

namespace headwise {

// A value that is not finite means that there is none.
struct HeadHeatMap {
  std::string title;               // "retrieval score of SmolLM2"
  std::string row_label = "head";  // or "kv head"
  int64_t num_layers = 0;
  int64_t num_rows = 0;        // heads of a layer
  std::vector<double> values;  // [num_layers * num_rows], by layer
};

// A digit for each head: 0 where the value is the least of all, 9 where it is
// the greatest, '.' where there is none; then what the digits mean. With
// options.color also the ramp's colours. Ends with a newline.
std::string RenderHeatMap(const HeadHeatMap& map,
                          const PictureOptions& options);

// One file that needs no other: a square for each head in the ramp's colour
// (viridis, which people with any colour vision can read, also in grey), its
// value as a tooltip, axes, and the ramp with its ends.
std::string RenderHeatMapSvg(const HeadHeatMap& map);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_HEAD_HEAT_MAP_H_
