#include "server/placement/apportionment.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>

#include "base/check.h"

namespace headwise {
namespace {

// The rank for one more piece, or nothing if none has room for it within
// `limits` (pieces over all layers, [world_size]).
std::optional<size_t> NextRank(const PieceKind& kind, ShareRule rule,
                               const RankLoads& loads,
                               const std::vector<int64_t>& totals,
                               const std::vector<int64_t>& limits) {
  std::optional<size_t> best;
  std::tuple<double, absl::int128> best_key;
  for (size_t rank = 0; rank < totals.size(); ++rank) {
    const absl::int128 room = loads.memory_bytes[rank] - loads.used_bytes[rank];
    if (totals[rank] >= limits[rank] || room < kind.bytes) continue;
    const std::tuple<double, absl::int128> key =
        rule == ShareRule::kFastest
            ? std::tuple((totals[rank] + 1) / loads.speed[rank],
                         loads.used_bytes[rank])
            : std::tuple(0.0, room);
    if (!best.has_value() || key < best_key) {
      best = rank;
      best_key = key;
    }
  }
  return best;
}

}  // namespace

std::vector<int64_t> LayerLimits(int64_t per_layer,
                                 const std::vector<double>& speed) {
  // One piece at a time to the rank that would be done first gives the least
  // maximum: a smaller one would leave some piece without a rank.
  std::vector<int64_t> count(speed.size(), 0);
  double maximum = 0.0;
  for (int64_t piece = 0; piece < per_layer; ++piece) {
    size_t best = 0;
    for (size_t rank = 1; rank < speed.size(); ++rank) {
      if ((count[rank] + 1) / speed[rank] < (count[best] + 1) / speed[best]) {
        best = rank;
      }
    }
    ++count[best];
    maximum = std::max(maximum, count[best] / speed[best]);
  }
  for (size_t rank = 0; rank < speed.size(); ++rank) {
    while (count[rank] < per_layer &&
           (count[rank] + 1) / speed[rank] <= maximum) {
      ++count[rank];
    }
  }
  return count;
}

std::vector<int64_t> ShareTotals(const PieceKind& kind, ShareRule rule,
                                 RankLoads& loads) {
  const int64_t num_pieces = kind.num_layers * kind.per_layer;
  std::vector<int64_t> totals(loads.speed.size(), 0);
  std::vector<int64_t> limits(totals.size(), num_pieces);
  if (rule == ShareRule::kFastest) {
    limits = LayerLimits(kind.per_layer, loads.speed);
    for (int64_t& limit : limits) limit *= kind.num_layers;
  }
  for (int64_t piece = 0; piece < num_pieces; ++piece) {
    std::optional<size_t> rank = NextRank(kind, rule, loads, totals, limits);
    if (!rank.has_value()) {
      // Memory keeps the layers from their least maximum; share what remains
      // as well as memory allows.
      limits.assign(totals.size(), num_pieces);
      rank = NextRank(kind, rule, loads, totals, limits);
    }
    if (!rank.has_value()) break;
    ++totals[*rank];
    loads.used_bytes[*rank] += kind.bytes;
  }
  return totals;
}

std::vector<std::vector<int64_t>> SpreadOverLayers(
    const PieceKind& kind, const std::vector<int64_t>& totals,
    const std::vector<std::vector<double>>& other_work,
    const std::vector<std::vector<int64_t>>& held) {
  const size_t world_size = totals.size();
  const int64_t num_layers = kind.num_layers;
  HEADWISE_CHECK(std::accumulate(totals.begin(), totals.end(), int64_t{0}) ==
                 num_layers * kind.per_layer);

  std::vector<int64_t> base(world_size);      // in every layer
  std::vector<int64_t> extra(world_size);     // layers with one more
  std::vector<int64_t> given(world_size, 0);  // of those, so far
  int64_t extras_per_layer = kind.per_layer;
  for (size_t rank = 0; rank < world_size; ++rank) {
    base[rank] = totals[rank] / num_layers;
    extra[rank] = totals[rank] % num_layers;
    extras_per_layer -= base[rank];
  }

  std::vector<std::vector<int64_t>> spread;
  std::vector<size_t> order(world_size);
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    // A rank whose extras fill all remaining layers must have one here; at most
    // extras_per_layer ranks are in that state, because the open extras of all
    // ranks are extras_per_layer * (layers left). Then the rank that is
    // furthest behind its even pace, extra * (layer + 1) / num_layers. (No
    // totals are known for which the second rule breaks the first; the first
    // is what proves that the sums come out.)
    const auto key = [&](size_t rank) {
      const int64_t open = extra[rank] - given[rank];
      const bool must = open == num_layers - layer;
      const int64_t behind =
          extra[rank] * (layer + 1) - given[rank] * num_layers;
      const double other = other_work.empty() ? 0.0 : other_work[layer][rank];
      const int64_t kept = held.empty() ? 0 : held[layer][rank];
      return std::tuple(!must, open == 0, -behind, other, -kept, rank);
    };
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return key(a) < key(b); });
    std::vector<int64_t> counts = base;
    for (int64_t i = 0; i < extras_per_layer; ++i) {
      ++counts[order[i]];
      ++given[order[i]];
    }
    spread.push_back(std::move(counts));
  }
  HEADWISE_CHECK(given == extra);
  return spread;
}

}  // namespace headwise
