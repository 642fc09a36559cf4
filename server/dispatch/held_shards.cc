#include "server/dispatch/held_shards.h"

#include <utility>

namespace headwise {
namespace {

std::vector<std::vector<RankBits>> NoneHeld(int64_t num_layers,
                                            int64_t per_layer) {
  return std::vector<std::vector<RankBits>>(
      static_cast<size_t>(num_layers),
      std::vector<RankBits>(static_cast<size_t>(per_layer), 0));
}

void Mark(const std::vector<int>& pieces, RankBits rank,
          std::vector<RankBits>* held) {
  for (const int piece : pieces) held->at(static_cast<size_t>(piece)) |= rank;
}

}  // namespace

void HeldShards::Set(uint64_t registration_id, Shard shard) {
  shards_[registration_id] = std::move(shard);
  if (shards_.size() > kMaxWorkers) shards_.erase(shards_.begin());
}

HeldPieces HeldShards::By(const std::vector<uint64_t>& registrations,
                          const ModelShape& shape) const {
  HeldPieces held;
  held.units = NoneHeld(shape.num_layers, shape.num_units);
  held.mlp_tiles = NoneHeld(shape.num_layers, shape.num_mlp_tiles);
  held.vocab_tiles.resize(static_cast<size_t>(shape.num_vocab_tiles), 0);
  for (size_t rank = 0; rank < registrations.size(); ++rank) {
    const auto found = shards_.find(registrations[rank]);
    if (found == shards_.end()) continue;
    const RankBits bit = RankBits{1} << rank;
    const Shard& shard = found->second;
    for (size_t layer = 0; layer < shard.layers.size(); ++layer) {
      Mark(shard.layers[layer].units, bit, &held.units.at(layer));
      Mark(shard.layers[layer].mlp_tiles, bit, &held.mlp_tiles.at(layer));
    }
    Mark(shard.vocab_tiles, bit, &held.vocab_tiles);
  }
  return held;
}

}  // namespace headwise
