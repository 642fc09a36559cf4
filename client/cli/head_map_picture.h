// The head map as a picture of characters.

#ifndef HEADWISE_CLIENT_CLI_HEAD_MAP_PICTURE_H_
#define HEADWISE_CLIENT_CLI_HEAD_MAP_PICTURE_H_

#include <cstdint>
#include <string>

#include "headwise/v1/admin.pb.h"

namespace headwise {

struct PictureOptions {
  bool color = false;  // ANSI colours beside the letters, never in their place
  int columns = 80;    // of the terminal; >= 20
};

// A letter for each rank: A-Z, a-z, 0-9, then '#'.
char RankLetter(int64_t rank);

// "1.5 MiB": binary units, one decimal from KiB on.
std::string FormatBytes(int64_t bytes);

// One row for each KV head, one column for each layer, cut into bands that fit;
// then a legend with every worker's share. Ends with a newline.
std::string RenderHeadMap(const v1::HeadMap& map,
                          const PictureOptions& options);

// Colour if `is_terminal` and the environment's NO_COLOR is unset or empty.
bool WantsColor(bool is_terminal);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_HEAD_MAP_PICTURE_H_
