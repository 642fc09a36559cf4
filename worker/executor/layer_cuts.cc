// Units whose context is cut over ranks: every rank attends to its ranges, all
// partials are gathered, the owner merges them in position order. A range's
// partial has the same bits wherever it is made, so the result is that of an
// uncut unit.
//
// Bytes of a gather: for each row, cut unit and range, g (head_dim + 1) floats;
// at a million positions (143 ranges), g = 3 and head_dim = 64, 111 kB for a
// decoded token.

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "model/head_plan/context_ranges.h"
#include "worker/executor/layer_runner.h"

namespace headwise {

void LayerRunner::LookAtCuts() {
  cut_layouts_.clear();
  if (!has_cuts_) return;
  int64_t largest = 0;
  for (int64_t layer = 0; layer < hyper_.num_layers; ++layer) {
    const std::vector<ContextCut>& cuts = context_.weights->layers[layer].cuts;
    std::vector<std::vector<bool>> is_cut(cuts.size());
    for (size_t c = 0; c < cuts.size(); ++c) {
      for (const PieceState& piece : *pieces_) {
        is_cut[c].push_back(
            IsAsTrained(piece.kv->plan.get(), layer, cuts[c].kv_head));
      }
    }
    const CutLayout& layout = cut_layouts_.emplace_back(
        cuts, *batch_, is_cut,
        CutLayout::Shape{group_->world_size(), hyper_.heads_per_kv_head(),
                         hyper_.head_dim});
    largest = std::max(largest, layout.section_size());
  }
  my_partials_.Reserve(largest);
  all_partials_.Reserve(largest * group_->world_size());
}

// The ranges of `span` that are on this rank.
void LayerRunner::AttendCut(Member& self, const AttendSpan& span,
                            AttendArgs args, int64_t layer, int64_t unit) {
  const int64_t cut = context_.weights->layers[layer].units[unit].cut;
  const int64_t first = span.first_row * hyper_.heads_per_kv_head();
  const CutLayout& layout = cut_layouts_[layer];
  for (int64_t begin = span.range_begin; begin < span.range_end;
       begin = RangeEnd(begin)) {
    const CutLayout::Place place =
        layout.Find(cut, span.piece, RangeIndex(begin));
    if (place.rank != group_->rank()) continue;
    float* part = my_partials_.data() + place.offset;
    args.begin = begin;
    args.end = std::min(RangeEnd(begin), span.range_end);
    args.out = part + first * hyper_.head_dim;
    args.lse = part + layout.rows(span.piece) * hyper_.head_dim + first;
    kernels_.attend(args);
  }
}

bool LayerRunner::GatherPartials(int member, int64_t layer) {
  if (!has_cuts_) return true;
  const int64_t size = cut_layouts_[layer].section_size();
  if (size == 0) return true;
  if (member == 0) {
    const absl::Time start = Clock::Monotonic().Now();
    const auto bytes = static_cast<size_t>(size) * sizeof(float);
    status_ = group_->AllGather(
        {reinterpret_cast<const uint8_t*>(my_partials_.data()), bytes},
        {reinterpret_cast<uint8_t*>(all_partials_.data()),
         bytes * static_cast<size_t>(group_->world_size())});
    collective_use_.time += Clock::Monotonic().Now() - start;
    collective_use_.bytes += static_cast<int64_t>(bytes);
    ++collective_use_.count;
  }
  context_.team->Barrier();
  return status_.ok();
}

void LayerRunner::MergeGathered(int64_t layer, int64_t unit, int64_t row,
                                float* mixed, float* lse) const {
  const int64_t cut = context_.weights->layers[layer].units[unit].cut;
  const int64_t piece = piece_of_row_[row];
  const int64_t g = hyper_.heads_per_kv_head();
  const int64_t dim = hyper_.head_dim;
  const CutLayout& layout = cut_layouts_[layer];
  const int64_t first = (row - batch_->pieces[piece].first_row) * g;
  for (int64_t begin = 0; begin <= batch_->positions[row];
       begin = RangeEnd(begin)) {
    const CutLayout::Place place = layout.Find(cut, piece, RangeIndex(begin));
    const float* part = all_partials_.data() +
                        place.rank * layout.section_size() + place.offset;
    const float* out = part + first * dim;
    const float* part_lse = part + layout.rows(piece) * dim + first;
    if (begin == 0) {
      std::copy_n(out, g * dim, mixed);
      std::copy_n(part_lse, g, lse);
    } else {
      kernels_.merge({mixed, lse, out, part_lse, g, dim});
    }
  }
}

}  // namespace headwise
