#include "worker/executor/cut_layout.h"

#include <algorithm>

#include "model/head_plan/context_ranges.h"

namespace headwise {

CutLayout::CutLayout(const std::vector<ContextCut>& cuts, const RowBatch& batch,
                     const std::vector<std::vector<bool>>& is_cut,
                     const Shape& shape)
    : cuts_(cuts), shape_(shape) {
  for (const BatchPiece& piece : batch.pieces) {
    rows_.push_back(piece.num_rows * shape.heads_per_kv_head);
  }
  std::vector<int64_t> used(static_cast<size_t>(shape.world_size), 0);
  begin_.resize(cuts.size());
  for (size_t cut = 0; cut < cuts.size(); ++cut) {
    const std::vector<int>& ranks = cuts[cut].rank_of_range;
    for (size_t p = 0; p < batch.pieces.size(); ++p) {
      begin_[cut].push_back(used);
      if (!is_cut[cut][p]) continue;
      const BatchPiece& piece = batch.pieces[p];
      const int64_t num_ranges =
          NumRanges(piece.first_position + piece.num_rows);
      for (int64_t i = 0; i < num_ranges; ++i) {
        used[ranks[i % static_cast<int64_t>(ranks.size())]] +=
            rows_[p] * (shape.head_dim + 1);
      }
    }
  }
  section_size_ = *std::max_element(used.begin(), used.end());
}

CutLayout::Place CutLayout::Find(int64_t cut, int64_t piece,
                                 int64_t index) const {
  const std::vector<int>& ranks = cuts_[cut].rank_of_range;
  const auto period = static_cast<int64_t>(ranks.size());
  Place place;
  place.rank = ranks[index % period];
  int64_t before = 0;  // ranges of the same rank
  for (int64_t i = 0; i < period; ++i) {
    if (ranks[i] != place.rank) continue;
    before += index / period + (i < index % period ? 1 : 0);
  }
  place.offset = begin_[cut][piece][place.rank] +
                 before * rows_[piece] * (shape_.head_dim + 1);
  return place;
}

}  // namespace headwise
