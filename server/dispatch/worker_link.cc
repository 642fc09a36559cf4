#include "server/dispatch/worker_link.h"

#include "base/check.h"

namespace headwise {

namespace {

// A rank with ranges of a unit's context has the unit.
void AddCuts(const Placement& placement, size_t layer, Shard* shard) {
  Shard::Layer& to = shard->layers[layer];
  to.units.clear();
  for (size_t unit = 0; unit < placement.unit_rank[layer].size(); ++unit) {
    to.cuts.push_back({static_cast<int>(unit), placement.unit_rank[layer][unit],
                       placement.range_rank[layer][unit]});
    if (to.cuts.back().Involves(shard->rank)) {
      to.units.push_back(static_cast<int>(unit));
    }
  }
}

}  // namespace

Shard ShardOfRank(const Placement& placement, int rank) {
  HEADWISE_CHECK(rank >= 0 && rank < placement.world_size);
  HEADWISE_CHECK(placement.unit_rank.size() == placement.mlp_tile_rank.size());
  // Indices at which `ranks` names `rank`; ascending, since the walk is.
  const auto held = [rank](const std::vector<int>& ranks) {
    std::vector<int> indices;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == rank) indices.push_back(static_cast<int>(i));
    }
    return indices;
  };
  Shard shard;
  shard.rank = rank;
  for (size_t layer = 0; layer < placement.unit_rank.size(); ++layer) {
    shard.layers.push_back({held(placement.unit_rank[layer]),
                            held(placement.mlp_tile_rank[layer]),
                            {}});
    if (!placement.range_rank.empty()) AddCuts(placement, layer, &shard);
  }
  shard.vocab_tiles = held(placement.vocab_tile_rank);
  shard.vocab_tile_rank = placement.vocab_tile_rank;
  return shard;
}

}  // namespace headwise
