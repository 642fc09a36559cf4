// The head map as a picture of characters.

#ifndef HEADWISE_CLIENT_CLI_HEAD_MAP_PICTURE_H_
#define HEADWISE_CLIENT_CLI_HEAD_MAP_PICTURE_H_

#include <cstdint>
#include <string>

#include "client/cli/grid_picture.h"
#include "headwise/v1/admin.pb.h"

namespace headwise {

// A letter for each rank: A-Z, a-z, 0-9, then '#'.
char RankLetter(int64_t rank);

// "1.5 MiB": binary units, one decimal from KiB on.
std::string FormatBytes(int64_t bytes);

// One row for each KV head, one column for each layer, cut into bands that fit;
// then a legend with every worker's share. Where the map names a plan, its
// policies: a grid with a legend, or a line if all units have one. Where
// contexts are cut over ranks, a grid of that. Ends with a newline.
std::string RenderHeadMap(const v1::HeadMap& map,
                          const PictureOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_HEAD_MAP_PICTURE_H_
