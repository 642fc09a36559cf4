#include "client/cli/head_map_picture.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace headwise {
namespace {

constexpr int64_t kNoRank = -1;

// Okabe and Ito's colours, which people with any colour vision can tell apart,
// as the nearest of the 256 that terminals have: orange, sky blue, bluish
// green, yellow, blue, vermilion, reddish purple.
constexpr std::array<int, 7> kRankColors = {214, 117, 36, 227, 32, 202, 175};

std::string Paint(const std::string& text, int64_t rank, bool color) {
  if (!color || rank < 0) return text;
  const int index = kRankColors[rank % kRankColors.size()];
  // Black letters on the colour.
  return absl::StrFormat("\x1b[30;48;5;%dm%s\x1b[0m", index, text);
}

// [num_layers][num_kv_heads]; kNoRank where the map says nothing.
std::vector<std::vector<int64_t>> RankGrid(const v1::HeadMap& map) {
  std::vector<std::vector<int64_t>> grid(
      static_cast<size_t>(std::max<int64_t>(0, map.num_layers())),
      std::vector<int64_t>(
          static_cast<size_t>(std::max<int64_t>(0, map.num_kv_heads())),
          kNoRank));
  for (const v1::UnitPlacement& unit : map.units()) {
    if (unit.layer() >= grid.size() ||
        unit.kv_head() >= grid[unit.layer()].size()) {
      continue;
    }
    grid[unit.layer()][unit.kv_head()] = unit.rank();
  }
  return grid;
}

// A mark above every fifth layer: "0    5    10".
std::string LayerRuler(size_t begin, size_t end) {
  std::string ruler;
  for (size_t layer = begin; layer < end; ++layer) {
    if (layer % 5 != 0 || ruler.size() > layer - begin) continue;
    ruler.resize(layer - begin, ' ');
    absl::StrAppend(&ruler, layer);
  }
  return ruler;
}

void AppendBand(const std::vector<std::vector<int64_t>>& grid, size_t begin,
                size_t end, bool color, std::string* out) {
  absl::StrAppend(out, "   layer  ", LayerRuler(begin, end), "\n");
  const size_t num_kv_heads = grid[begin].size();
  for (size_t kv_head = 0; kv_head < num_kv_heads; ++kv_head) {
    absl::StrAppendFormat(out, "kv head %-2d", static_cast<int>(kv_head));
    for (size_t layer = begin; layer < end; ++layer) {
      const int64_t rank = grid[layer][kv_head];
      absl::StrAppend(
          out, Paint(std::string(1, rank < 0 ? '.' : RankLetter(rank)), rank,
                     color));
    }
    absl::StrAppend(out, "\n");
  }
}

void AppendWorker(const v1::HeadMap& map, const v1::WorkerShare& worker,
                  bool color, std::string* out) {
  absl::StrAppend(out,
                  Paint(absl::StrFormat(" %c ", RankLetter(worker.rank())),
                        worker.rank(), color),
                  " ", worker.name());
  if (!worker.address().empty()) absl::StrAppend(out, " at ", worker.address());
  absl::StrAppendFormat(
      out,
      "\n    speed %.2f, %d of %d units, %d MLP tiles, %d vocabulary tiles",
      worker.speed(), worker.num_units(), map.num_layers() * map.num_kv_heads(),
      worker.num_mlp_tiles(), worker.num_vocab_tiles());
  absl::StrAppendFormat(out,
                        "\n    weights %s, KV %s for each token, capacity %s",
                        FormatBytes(worker.weight_bytes()),
                        FormatBytes(worker.kv_bytes_per_token()),
                        worker.kv_capacity_bytes() == 0
                            ? std::string("unlimited")
                            : FormatBytes(worker.kv_capacity_bytes()));
  if (worker.forecast_ms_per_token() > 0) {
    absl::StrAppendFormat(out, ", forecast %.3f ms for a token",
                          worker.forecast_ms_per_token());
  }
  absl::StrAppend(out, "\n");
}

}  // namespace

char RankLetter(int64_t rank) {
  if (rank < 26) return static_cast<char>('A' + rank);
  if (rank < 52) return static_cast<char>('a' + rank - 26);
  if (rank < 62) return static_cast<char>('0' + rank - 52);
  return '#';
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"KiB", "MiB", "GiB",
                                                        "TiB", "PiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string RenderHeadMap(const v1::HeadMap& map,
                          const PictureOptions& options) {
  std::string out = absl::StrFormat(
      "%s: %d layers, %d heads in %d KV heads, on %d workers (%s group, "
      "membership epoch %d)\n",
      map.model(), map.num_layers(), map.num_heads(), map.num_kv_heads(),
      map.world_size(), map.group_kind(), map.membership_epoch());
  const auto grid = RankGrid(map);
  constexpr int kMarginColumns = 10;
  const size_t band =
      static_cast<size_t>(std::max(1, options.columns - kMarginColumns));
  for (size_t begin = 0; begin < grid.size(); begin += band) {
    absl::StrAppend(&out, "\n");
    AppendBand(grid, begin, std::min(begin + band, grid.size()), options.color,
               &out);
  }
  absl::StrAppend(&out, "\n");
  for (const v1::WorkerShare& worker : map.workers()) {
    AppendWorker(map, worker, options.color, &out);
  }
  if (map.max_context_len() > 0) {
    absl::StrAppendFormat(&out, "longest sequence that fits: %d tokens\n",
                          map.max_context_len());
  }
  if (map.forecast_ms_per_token() > 0) {
    absl::StrAppendFormat(&out, "forecast: %.3f ms for a token\n",
                          map.forecast_ms_per_token());
  }
  return out;
}

bool WantsColor(bool is_terminal) {
  const char* no_color = std::getenv("NO_COLOR");
  return is_terminal && (no_color == nullptr || no_color[0] == '\0');
}

}  // namespace headwise
