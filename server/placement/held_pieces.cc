#include "server/placement/held_pieces.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/check.h"

namespace headwise {
namespace {

bool Holds(RankBits ranks, size_t rank) { return ((ranks >> rank) & 1) != 0; }

}  // namespace

std::vector<int64_t> CountHeld(const std::vector<RankBits>& held,
                               int world_size) {
  std::vector<int64_t> counts(static_cast<size_t>(world_size), 0);
  for (const RankBits ranks : held) {
    for (size_t rank = 0; rank < counts.size(); ++rank) {
      counts[rank] += Holds(ranks, rank) ? 1 : 0;
    }
  }
  return counts;
}

std::vector<int> DealPieces(const std::vector<int64_t>& counts,
                            const std::vector<RankBits>& held) {
  const auto num_pieces = static_cast<size_t>(
      std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  HEADWISE_CHECK(held.empty() || held.size() == num_pieces);
  std::vector<int> rank_of(num_pieces, -1);
  std::vector<int64_t> open = counts;
  std::vector<size_t> order(held.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&held](size_t a, size_t b) {
    return std::popcount(held[a]) < std::popcount(held[b]);
  });
  for (const size_t piece : order) {
    // Of several holders the one that lacks most.
    size_t best = counts.size();
    for (size_t rank = 0; rank < counts.size(); ++rank) {
      if (!Holds(held[piece], rank) || open[rank] == 0) continue;
      if (best == counts.size() || open[rank] > open[best]) best = rank;
    }
    if (best == counts.size()) continue;
    rank_of[piece] = static_cast<int>(best);
    --open[best];
  }
  size_t next = 0;
  for (int& rank : rank_of) {
    if (rank >= 0) continue;
    while (open[next] == 0) ++next;
    rank = static_cast<int>(next);
    --open[next];
  }
  return rank_of;
}

}  // namespace headwise
