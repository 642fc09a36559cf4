// What workers have in memory of an earlier placement, so that the next one
// moves little.

#ifndef HEADWISE_SERVER_PLACEMENT_HELD_PIECES_H_
#define HEADWISE_SERVER_PLACEMENT_HELD_PIECES_H_

#include <cstdint>
#include <vector>

namespace headwise {

// The ranks of the new placement that have the weights of a piece already: bit
// r is rank r's.
using RankBits = uint64_t;

// Each empty, or as in Placement.
struct HeldPieces {
  std::vector<std::vector<RankBits>> units;      // [num_layers][num_units]
  std::vector<std::vector<RankBits>> mlp_tiles;  // [num_layers][num_mlp_tiles]
  std::vector<RankBits> vocab_tiles;             // [num_vocab_tiles]
};

// How many of `held` each of `world_size` ranks has.
std::vector<int64_t> CountHeld(const std::vector<RankBits>& held,
                               int world_size);

// A rank for each piece, of which rank r gets counts[r]: where it can be, one
// that holds the piece. Pieces that few hold choose first. Those that nobody
// holds, or whose holders have their count, go in order to the lowest rank that
// lacks pieces. Requires held.size() == sum of counts, or an empty `held`.
std::vector<int> DealPieces(const std::vector<int64_t>& counts,
                            const std::vector<RankBits>& held);

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_HELD_PIECES_H_
