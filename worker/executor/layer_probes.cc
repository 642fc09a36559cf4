// What a batch tells of its attention.

#include <algorithm>

#include "worker/executor/layer_runner.h"

namespace headwise {

void LayerRunner::ProbeSpan(Member& self, const AttendSpan& span, int64_t layer,
                            int64_t unit) {
  // Of rows that are cut into ranges, the first stands for all.
  if (span.partial >= 0 && span.range_begin > 0) return;
  const PieceState& state = (*pieces_)[span.piece];
  const BatchPiece& piece = batch_->pieces[span.piece];
  const UnitKv& kv = KvOf(span.piece, layer, unit);
  const int64_t g = hyper_.heads_per_kv_head();
  for (int64_t i = 0; i < span.num_rows; ++i) {
    const int64_t row = span.first_row + i;
    const float* queries =
        queries_.data() +
        (unit * batch_->num_rows + piece.first_row + row) * g * hyper_.head_dim;
    for (int64_t h = 0; h < g; ++h) {
      ProbeRow(self, state, kv, piece.first_position + row,
               queries + h * hyper_.head_dim, piece.first_slice_row + row,
               &(*state.probes)[(first_unit_[layer] + unit) * g + h]);
    }
  }
}

void LayerRunner::ProbeRow(Member& self, const PieceState& piece,
                           const UnitKv& kv, int64_t position,
                           const float* query, int64_t slice_row,
                           HeadProbe* out) {
  const int64_t count = position + 1;
  self.scores.Reserve(count);
  ScoresArgs args;
  args.layout = kv.layout;
  args.blocks = kv.blocks.data();
  args.end = count;
  args.queries = query;
  args.num_rows = 1;
  args.out = self.scores.data();
  args.out_stride = count;
  kernels_.scores(args);
  const float* scores = self.scores.data();
  const SoftmaxStats stats = kernels_.softmax_stats(scores, count);
  if (piece.probe->argmax) {
    const float* best = std::max_element(scores, scores + count);
    out->argmax[slice_row] = static_cast<int32_t>(best - scores);
    out->argmax_prob[slice_row] =
        kernels_.exp_one(*best - stats.max) / stats.sum;
  }
  const auto num_rows = static_cast<int64_t>(
      out->distance_probs.size() /
      std::max<size_t>(piece.probe->distance_sets.size(), 1));
  for (size_t set = 0; set < piece.probe->distance_sets.size(); ++set) {
    float sum = 0.0f;
    for (const int64_t distance : piece.probe->distance_sets[set]) {
      if (distance < 0 || distance > position) continue;
      sum +=
          kernels_.exp_one(scores[position - distance] - stats.max) / stats.sum;
    }
    out->distance_probs[static_cast<int64_t>(set) * num_rows + slice_row] = sum;
  }
}

}  // namespace headwise
