#include "client/cli/head_map_picture.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/plan_picture.h"
#include "model/head_plan/policy_names.h"

namespace headwise {
namespace {

// As RenderPlan: nobody reads a legend of 90.
constexpr size_t kMaxLegendLines = 20;

// What a unit is, as one of the pictures shows it.
struct UnitMark {
  GridCell cell;
  std::string meaning;  // in the legend
};
using MarkOf = std::function<UnitMark(const v1::UnitPlacement&)>;

// One grid: '.' where the map says nothing. Returns what the marks are, with
// how many units have each; most units first.
std::vector<std::pair<UnitMark, int64_t>> AppendUnits(
    const v1::HeadMap& map, const MarkOf& mark_of,
    const PictureOptions& options, std::string* out) {
  std::vector<std::vector<GridCell>> cells(
      static_cast<size_t>(std::max<int64_t>(0, map.num_layers())),
      std::vector<GridCell>(
          static_cast<size_t>(std::max<int64_t>(0, map.num_kv_heads()))));
  std::vector<std::pair<UnitMark, int64_t>> marks;
  std::map<std::string, size_t> index_of;
  for (const v1::UnitPlacement& unit : map.units()) {
    if (unit.layer() >= cells.size() ||
        unit.kv_head() >= cells[unit.layer()].size()) {
      continue;
    }
    UnitMark mark = mark_of(unit);
    cells[unit.layer()][unit.kv_head()] = mark.cell;
    const auto [at, is_new] = index_of.emplace(mark.meaning, marks.size());
    if (is_new) marks.emplace_back(std::move(mark), 0);
    ++marks[at->second].second;
  }
  AppendGrid({.num_layers = map.num_layers(),
              .num_rows = map.num_kv_heads(),
              .row_label = "kv head",
              .cell = [&](int64_t layer,
                          int64_t kv_head) { return cells[layer][kv_head]; }},
             options, out);
  absl::StrAppend(out, "\n");
  std::stable_sort(
      marks.begin(), marks.end(),
      [](const auto& a, const auto& b) { return a.second > b.second; });
  return marks;
}

void AppendLegend(const v1::HeadMap& map,
                  const std::vector<std::pair<UnitMark, int64_t>>& marks,
                  bool color, std::string* out) {
  for (size_t i = 0; i < std::min(marks.size(), kMaxLegendLines); ++i) {
    const auto& [mark, count] = marks[i];
    absl::StrAppendFormat(out, "%s %d of %d units: %s\n",
                          Paint(absl::StrFormat(" %c ", mark.cell.letter),
                                mark.cell.background, color),
                          count, map.units_size(), mark.meaning);
  }
  if (marks.size() > kMaxLegendLines) {
    absl::StrAppend(out, " ... and ", marks.size() - kMaxLegendLines,
                    " more\n");
  }
}

UnitMark RankMark(const v1::UnitPlacement& unit) {
  return {{RankLetter(unit.rank()), DistinctColor(unit.rank())}, ""};
}

UnitMark PolicyMark(const v1::UnitPlacement& unit) {
  const std::optional<PolicyKind> kind = PolicyNamed(unit.policy());
  return {kind.has_value() ? GridCell{PolicyLetter(*kind), PolicyColor(*kind)}
                           : GridCell{'?'},
          unit.policy_description()};
}

// Policies of the map's units under its plan.
void AppendPolicies(const v1::HeadMap& map, const PictureOptions& options,
                    std::string* out) {
  if (map.plan().empty() || map.units().empty()) return;
  absl::StrAppend(out, "\nplan ", map.plan().substr(0, 16));
  const std::string& first = map.units(0).policy_description();
  const bool are_equal =
      std::all_of(map.units().begin(), map.units().end(),
                  [&](const v1::UnitPlacement& unit) {
                    return unit.policy_description() == first;
                  });
  if (are_equal) {
    absl::StrAppend(out, ": every unit ", first, "\n");
    return;
  }
  absl::StrAppend(out, "\n");
  const auto marks = AppendUnits(map, PolicyMark, options, out);
  AppendLegend(map, marks, options.color, out);
}

// Which ranks share a unit's context. Nothing if none is cut.
void AppendCuts(const v1::HeadMap& map, const PictureOptions& options,
                std::string* out) {
  std::map<std::vector<uint32_t>, int64_t> index_of;  // sets of ranks
  const auto mark_of = [&](const v1::UnitPlacement& unit) -> UnitMark {
    const std::vector<uint32_t> ranks(unit.context_ranks().begin(),
                                      unit.context_ranks().end());
    if (ranks.empty()) return {{'-'}, "context on the rank of the unit"};
    const auto size = static_cast<int64_t>(index_of.size());
    const int64_t index = index_of.emplace(ranks, size).first->second;
    return {{index < 9 ? static_cast<char>('1' + index) : '#',
             DistinctColor(index)},
            absl::StrCat(
                "context over ",
                absl::StrJoin(ranks, " ", [](std::string* to, uint32_t rank) {
                  to->push_back(RankLetter(rank));
                }))};
  };
  const bool is_any_cut = std::any_of(map.units().begin(), map.units().end(),
                                      [](const v1::UnitPlacement& unit) {
                                        return !unit.context_ranks().empty();
                                      });
  if (!is_any_cut) return;
  absl::StrAppend(out, "\ncontexts over ranks\n");
  const auto marks = AppendUnits(map, mark_of, options, out);
  AppendLegend(map, marks, options.color, out);
}

void AppendWorker(const v1::HeadMap& map, const v1::WorkerShare& worker,
                  bool color, std::string* out) {
  absl::StrAppend(out,
                  Paint(absl::StrFormat(" %c ", RankLetter(worker.rank())),
                        DistinctColor(worker.rank()), color),
                  " ", worker.name());
  if (!worker.address().empty()) absl::StrAppend(out, " at ", worker.address());
  if (!worker.version().empty()) {
    absl::StrAppend(out, ", build ", worker.version());
  }
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
  if (map.protocol() > 0) {
    absl::StrAppendFormat(&out, "build %s, protocol %d, numerics %d\n",
                          map.version(), map.protocol(), map.numerics());
  }
  AppendUnits(map, RankMark, options, &out);
  for (const v1::WorkerShare& worker : map.workers()) {
    AppendWorker(map, worker, options.color, &out);
  }
  for (const v1::MissingWorker& worker : map.missing()) {
    absl::StrAppend(&out, "missing: ", worker.name(), ": ", worker.reason(),
                    "\n");
  }
  if (map.max_context_len() > 0) {
    absl::StrAppendFormat(&out, "longest sequence that fits: %d tokens\n",
                          map.max_context_len());
  }
  if (map.forecast_ms_per_token() > 0) {
    absl::StrAppendFormat(&out, "forecast: %.3f ms for a token\n",
                          map.forecast_ms_per_token());
  }
  AppendPolicies(map, options, &out);
  AppendCuts(map, options, &out);
  return out;
}

}  // namespace headwise
