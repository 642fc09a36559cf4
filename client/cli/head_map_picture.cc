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

void AppendWorker(const v1::HeadMap& map, const v1::WorkerShare& worker,
                  bool color, std::string* out) {
  absl::StrAppend(out,
                  Paint(absl::StrFormat(" %c ", RankLetter(worker.rank())),
                        DistinctColor(worker.rank()), color),
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
  AppendGrid({.num_layers = map.num_layers(),
              .num_rows = map.num_kv_heads(),
              .row_label = "kv head",
              .cell =
                  [&](int64_t layer, int64_t kv_head) {
                    const int64_t rank = grid[layer][kv_head];
                    return rank < 0 ? GridCell{}
                                    : GridCell{RankLetter(rank),
                                               DistinctColor(rank)};
                  }},
             options, &out);
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

}  // namespace headwise
