// The attention half of a layer.

#include <algorithm>
#include <cstring>

#include "worker/attention/ranges.h"
#include "worker/executor/layer_runner.h"

namespace headwise {
namespace {

void AddBias(const std::vector<float>& bias, int64_t first, int64_t n,
             float* x) {
  if (bias.empty()) return;
  for (int64_t i = 0; i < n; ++i) x[i] += bias[first + i];
}

}  // namespace

void LayerRunner::Rotate(int64_t row, float* head) const {
  const int64_t pairs = hyper_.rope.rotary_dim / 2;
  const float* cosines = cosines_.data() + row * pairs;
  const float* sines = sines_.data() + row * pairs;
  const bool interleaved = hyper_.rope.layout == RopeLayout::kInterleaved;
  const int64_t step = interleaved ? 2 : 1;
  const int64_t other = interleaved ? 1 : pairs;
  for (int64_t i = 0; i < pairs; ++i) {
    float& x = head[step * i];
    float& y = head[step * i + other];
    const float rotated_x = x * cosines[i] - y * sines[i];
    const float rotated_y = x * sines[i] + y * cosines[i];
    x = rotated_x;
    y = rotated_y;
  }
}

// Work is shared out by head, so that a thread can rotate and store what it has
// just projected. Key and value of a unit go together, first: they are the
// largest piece.
void LayerRunner::ProjectHeads(int member, int64_t layer) {
  const auto num_units =
      static_cast<int64_t>(context_.weights->layers[layer].units.size());
  const int64_t num_queries = num_units * hyper_.heads_per_kv_head();
  std::atomic<int64_t>& counter = counters_[2 * layer];
  const Rows& rows = RowsOf(member);
  for (int64_t i = counter.fetch_add(1); i < num_units + num_queries;
       i = counter.fetch_add(1)) {
    if (i < num_units) {
      ProjectKeyValue(*members_[member], rows, layer, i);
    } else {
      const int64_t head = i - num_units;
      ProjectQuery(*members_[member], rows, layer,
                   head / hyper_.heads_per_kv_head(),
                   head % hyper_.heads_per_kv_head());
    }
  }
}

void LayerRunner::ProjectQuery(Member& self, const Rows& rows, int64_t layer,
                               int64_t unit, int64_t head) {
  const LayerWeights& weights = context_.weights->layers[layer];
  const UnitWeights& w = weights.units[unit];
  const int64_t dim = hyper_.head_dim;
  const int64_t g = hyper_.heads_per_kv_head();
  Multiply({&w.query,
            rows.normed_q.View(),
            rows.normed.data(),
            hyper_.model_dim,
            {head * dim / 16, (head + 1) * dim / 16}},
           self.head.data(), dim);
  for (int64_t row = 0; row < batch_->num_rows; ++row) {
    float* q = self.head.data() + row * dim;
    AddBias(w.query_bias, head * dim, dim, q);
    if (!weights.query_norm.empty()) {
      kernels_.rms_norm(q, weights.query_norm.data(), hyper_.norm_epsilon, dim,
                        q);
    }
    Rotate(row, q);
    float* out =
        queries_.data() + ((unit * batch_->num_rows + row) * g + head) * dim;
    for (int64_t d = 0; d < dim; ++d) out[d] = q[d] * softmax_scale_;
  }
}

void LayerRunner::ProjectKeyValue(Member& self, const Rows& rows, int64_t layer,
                                  int64_t unit) {
  const LayerWeights& weights = context_.weights->layers[layer];
  const UnitWeights& w = weights.units[unit];
  const int64_t dim = hyper_.head_dim;
  const PartRange all = {0, dim / 16};
  float* keys = self.head.data();
  float* values = keys + batch_->num_rows * dim;
  Multiply(
      {&w.key, rows.normed_q.View(), rows.normed.data(), hyper_.model_dim, all},
      keys, dim);
  Multiply({&w.value, rows.normed_q.View(), rows.normed.data(),
            hyper_.model_dim, all},
           values, dim);
  const int64_t unit_of_rank = first_unit_[layer] + unit;
  for (size_t p = 0; p < batch_->pieces.size(); ++p) {
    const BatchPiece& piece = batch_->pieces[p];
    const std::vector<uint8_t*>& blocks = (*(*blocks_)[p])[unit_of_rank];
    for (int64_t i = 0; i < piece.num_rows; ++i) {
      const int64_t row = piece.first_row + i;
      const int64_t position = piece.first_position + i;
      float* key = keys + row * dim;
      float* value = values + row * dim;
      AddBias(w.key_bias, 0, dim, key);
      AddBias(w.value_bias, 0, dim, value);
      if (!weights.key_norm.empty()) {
        kernels_.rms_norm(key, weights.key_norm.data(), hyper_.norm_epsilon,
                          dim, key);
      }
      Rotate(row, key);
      kernels_.append({context_.layout, blocks[position / KvLayout::kPositions],
                       position % KvLayout::kPositions, key, value});
    }
  }
}

void LayerRunner::AttendSpans(int member, int64_t layer) {
  const auto num_units =
      static_cast<int64_t>(context_.weights->layers[layer].units.size());
  const auto num_spans = static_cast<int64_t>(batch_->spans.size());
  std::atomic<int64_t>& counter = counters_[2 * layer + 1];
  for (int64_t i = counter.fetch_add(1); i < num_units * num_spans;
       i = counter.fetch_add(1)) {
    AttendSpanOf(*members_[member], batch_->spans[i / num_units], layer,
                 i % num_units);
  }
}

void LayerRunner::AttendSpanOf(Member& self, const AttendSpan& span,
                               int64_t layer, int64_t unit) {
  const int64_t g = hyper_.heads_per_kv_head();
  const int64_t dim = hyper_.head_dim;
  const BatchPiece& piece = batch_->pieces[span.piece];
  const int64_t num_rows = span.num_rows * g;
  const int64_t first =
      unit * batch_->num_rows + piece.first_row + span.first_row;
  self.visible.resize(static_cast<size_t>(num_rows));
  for (int64_t i = 0; i < num_rows; ++i) {
    self.visible[i] = piece.first_position + span.first_row + i / g + 1;
  }
  AttendArgs args;
  args.layout = context_.layout;
  args.blocks = (*(*blocks_)[span.piece])[first_unit_[layer] + unit].data();
  args.begin = span.range_begin;
  args.end = span.range_end;
  args.queries = queries_.data() + first * g * dim;
  args.visible_end = self.visible.data();
  args.num_rows = num_rows;
  args.scratch = self.attend.data();
  if (span.partial < 0) {
    return AttendWhole(self, span, args, attended_.data() + first * g * dim);
  }
  const int64_t stride = batch_->max_partial_rows * g;
  const int64_t at = (unit * batch_->num_partials + span.partial) * stride;
  args.out = partial_out_.data() + at * dim;
  args.lse = partial_lse_.data() + at;
  kernels_.attend(args);
}

// All ranges of the context in order, each merged into what came before.
void LayerRunner::AttendWhole(Member& self, const AttendSpan& span,
                              AttendArgs args, float* out) {
  args.out = out;
  args.lse = self.lse.data();
  args.begin = 0;
  args.end = std::min(RangeEnd(0), span.range_end);
  kernels_.attend(args);
  MergeArgs merge = {out,
                     self.lse.data(),
                     self.part_out.data(),
                     self.part_lse.data(),
                     args.num_rows,
                     context_.layout.head_dim};
  args.out = self.part_out.data();
  args.lse = self.part_lse.data();
  for (int64_t begin = RangeEnd(0); begin < span.range_end;
       begin = RangeEnd(begin)) {
    args.begin = begin;
    args.end = std::min(RangeEnd(begin), span.range_end);
    kernels_.attend(args);
    kernels_.merge(merge);
  }
}

// Joins the partials of rows that were cut, and converts rows to int8.
void LayerRunner::MixRows(int member, int64_t layer) {
  const int64_t g = hyper_.heads_per_kv_head();
  const int64_t dim = hyper_.head_dim;
  const int64_t width = g * dim;
  Rows& rows = RowsOf(member);
  const PartRange part = PartOfRows(member);
  const std::vector<UnitWeights>& units = context_.weights->layers[layer].units;
  const int64_t stride = batch_->max_partial_rows * g;
  for (int64_t unit = 0; unit < static_cast<int64_t>(units.size()); ++unit) {
    for (int64_t row = part.begin; row < part.end; ++row) {
      const int64_t at = (unit * batch_->num_rows + row) * width;
      float* mixed = rows.mixed.data() + at;
      const RowPartials& cut = batch_->row_partials[row];
      if (cut.num_partials == 0) {
        std::memcpy(mixed, attended_.data() + at,
                    static_cast<size_t>(width) * sizeof(float));
      }
      float* lse = members_[member]->lse.data();
      for (int64_t p = 0; p < cut.num_partials; ++p) {
        const int64_t from =
            (unit * batch_->num_partials + cut.first_partial + p) * stride +
            cut.row_in_partial * g;
        const float* part_out = partial_out_.data() + from * dim;
        const float* part_lse = partial_lse_.data() + from;
        if (p == 0) {
          std::copy(part_out, part_out + width, mixed);
          std::copy(part_lse, part_lse + g, lse);
        } else {
          kernels_.merge({mixed, lse, part_out, part_lse, g, dim});
        }
      }
      if (units[unit].output.is_quantized()) {
        kernels_.quantize(mixed, width, rows.mixed_q[unit].Row(row));
      }
    }
  }
  if (!every_member_) context_.team->Barrier();
}

void LayerRunner::ProjectOutput(int member, int64_t layer) {
  const std::vector<UnitWeights>& units = context_.weights->layers[layer].units;
  const int64_t width = hyper_.heads_per_kv_head() * hyper_.head_dim;
  const Rows& rows = RowsOf(member);
  const PartRange groups =
      PartOf(hyper_.model_dim / 16, member, static_cast<int>(num_threads_));
  ClearSums(groups);
  for (int64_t unit = 0; unit < static_cast<int64_t>(units.size()); ++unit) {
    MultiplyAndAdd(
        {&units[unit].output, rows.mixed_q[unit].View(),
         rows.mixed.data() + unit * batch_->num_rows * width, width, groups},
        &members_[member]->not_exact[0]);
  }
}

}  // namespace headwise
