// How many pieces of one kind each rank gets, in total and in every layer.

#ifndef HEADWISE_SERVER_PLACEMENT_APPORTIONMENT_H_
#define HEADWISE_SERVER_PLACEMENT_APPORTIONMENT_H_

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"

namespace headwise {

// Equal pieces of work: the units, the MLP tiles or the vocabulary tiles of a
// model (these have one "layer").
struct PieceKind {
  int64_t num_layers = 0;
  int64_t per_layer = 0;
  absl::int128 bytes = 0;  // memory of one piece
};

// What the ranks can do, and how full they are. All vectors [world_size].
struct RankLoads {
  std::vector<double> speed;               // > 0
  std::vector<absl::int128> memory_bytes;  // limit
  std::vector<absl::int128> used_bytes;    // <= memory_bytes
};

// How to choose among ranks that have room for a piece.
enum class ShareRule {
  kFastest,  // the one that would be done with its pieces first
  kFullest,  // the one with least room left: packs tightly, ignores speed
};

// The least possible maximum over ranks of count / speed when `per_layer`
// pieces are shared, as limits: [world_size], the largest count of each rank
// that stays within that maximum. Their sum is at least per_layer.
std::vector<int64_t> LayerLimits(int64_t per_layer,
                                 const std::vector<double>& speed);

// Pieces that each rank gets over all layers, [world_size], and adds their
// bytes to `loads`. With kFastest and memory that suffices, totals are such
// that every layer can keep its LayerLimits, and the maximum of total / speed
// is the least possible. Ties go to the rank with fewer used bytes, then to the
// lower rank. The sum of the result is short of all pieces if no rank has room
// for the next.
std::vector<int64_t> ShareTotals(const PieceKind& kind, ShareRule rule,
                                 RankLoads& loads);

// Spreads totals over layers: [num_layers][world_size]. Each layer gets
// per_layer pieces, and rank r either floor or ceil of totals[r] / num_layers,
// the ceils as evenly apart as they can be. Ties go to the rank with the lower
// `other_work` [num_layers][world_size] in that layer (may be empty), then to
// the one with more of the layer's pieces in memory, `held`
// [num_layers][world_size] (may be empty), then to the lower rank. Requires
// sum(totals) == num_layers * per_layer.
std::vector<std::vector<int64_t>> SpreadOverLayers(
    const PieceKind& kind, const std::vector<int64_t>& totals,
    const std::vector<std::vector<double>>& other_work,
    const std::vector<std::vector<int64_t>>& held = {});

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_APPORTIONMENT_H_
