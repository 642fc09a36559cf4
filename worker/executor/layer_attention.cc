// The attention half of a layer.

#include <algorithm>
#include <cstring>

#include "model/head_plan/context_ranges.h"
#include "worker/executor/layer_runner.h"

namespace headwise {
namespace {

void AddBias(const std::vector<float>& bias, int64_t first, int64_t n,
             float* x) {
  if (bias.empty()) return;
  for (int64_t i = 0; i < n; ++i) x[i] += bias[first + i];
}

}  // namespace

// Policies that renumber chunks rotate keys and queries by their place in one.
RotationAngles LayerRunner::AnglesOf(const UnitKv& kv, int64_t row) const {
  if (const int64_t period = RotationPeriod(kv.policy); period > 0) {
    return context_.rotations->At(batch_->positions[row] % period);
  }
  const int64_t at = row * (hyper_.rope.rotary_dim / 2);
  return {cosines_.data() + at, sines_.data() + at};
}

bool LayerRunner::IsMaskedUniform(const SequenceKv& kv, int64_t layer,
                                  int64_t unit, int64_t head) const {
  if (kv.plan == nullptr) return false;
  const int64_t kv_head = context_.weights->layers[layer].units[unit].kv_head;
  return kv.plan->head(layer, kv_head * hyper_.heads_per_kv_head() + head)
             .mask == HeadMask::kUniform;
}

// Work is shared out by head, so that a thread can rotate and store what it has
// just projected. Key and value of a unit go together, first: they are the
// largest piece.
void LayerRunner::ProjectHeads(int member, int64_t layer) {
  const auto num_units =
      static_cast<int64_t>(context_.weights->layers[layer].units.size());
  const int64_t num_queries = num_units * hyper_.heads_per_kv_head();
  std::atomic<int64_t>& counter = Counter(layer, Work::kProject);
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
  }
  for (size_t p = 0; p < batch_->pieces.size(); ++p) {
    const auto piece = static_cast<int64_t>(p);
    // Scores of 0 are uniform attention over what the head sees.
    if (IsMaskedUniform(*(*pieces_)[p].kv, layer, unit, head)) {
      std::fill_n(self.head.data() + batch_->pieces[p].first_row * dim,
                  batch_->pieces[p].num_rows * dim, 0.0f);
    }
    StoreQueries(batch_->pieces[p], KvOf(piece, layer, unit), unit, head,
                 self.head.data());
  }
}

// Rotated and scaled; not rotated too, where a policy asks for that.
void LayerRunner::StoreQueries(const BatchPiece& piece, const UnitKv& kv,
                               int64_t unit, int64_t head,
                               const float* projected) {
  const int64_t g = hyper_.heads_per_kv_head();
  const int64_t dim = hyper_.head_dim;
  const bool keep_plain = sees_beside_ || NeedsPlainQueries(kv.policy);
  for (int64_t i = 0; i < piece.num_rows; ++i) {
    const int64_t row = piece.first_row + i;
    const float* q = projected + row * dim;
    const int64_t at = ((unit * batch_->num_rows + row) * g + head) * dim;
    float* out = queries_.data() + at;
    if (keep_plain) {
      float* plain = plain_queries_.data() + at;
      for (int64_t d = 0; d < dim; ++d) plain[d] = q[d] * softmax_scale_;
    }
    std::copy_n(q, dim, out);
    RotateHead(hyper_.rope, AnglesOf(kv, row), out);
    for (int64_t d = 0; d < dim; ++d) out[d] *= softmax_scale_;
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
  for (size_t p = 0; p < batch_->pieces.size(); ++p) {
    const BatchPiece& piece = batch_->pieces[p];
    const UnitKv& kv = KvOf(static_cast<int64_t>(p), layer, unit);
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
      uint8_t* block = kv.blocks[position / KvLayout::kPositions];
      if (block == nullptr) continue;  // another rank's range
      RotateHead(hyper_.rope, AnglesOf(kv, row), key);
      kernels_.append(
          {kv.layout, block, position % KvLayout::kPositions, key, value});
    }
  }
}

// A unit's rows of one sequence are summarized by one thread, in order.
void LayerRunner::Summarize(int member, int64_t layer) {
  const int64_t dim = hyper_.head_dim;
  const auto num_units =
      static_cast<int64_t>(context_.weights->layers[layer].units.size());
  const auto num_pieces = static_cast<int64_t>(batch_->pieces.size());
  std::atomic<int64_t>& counter = Counter(layer, Work::kSummarize);
  for (int64_t i = counter.fetch_add(1); i < num_units * num_pieces;
       i = counter.fetch_add(1)) {
    const int64_t unit = i % num_units;
    const BatchPiece& piece = batch_->pieces[i / num_units];
    SequenceKv& kv = *(*pieces_)[i / num_units].kv;
    const int64_t row = unit * batch_->num_rows + piece.first_row;
    StoredRows rows;
    rows.kv = &kv.units[first_unit_[layer] + unit];
    if (rows.kv->is_elsewhere) continue;  // its blocks are not here
    rows.prompt_len = kv.prompt_len;
    rows.first_position = piece.first_position;
    rows.num_rows = piece.num_rows;
    rows.queries = queries_.data() + row * hyper_.heads_per_kv_head() * dim;
    rows.softmax_scale = softmax_scale_;
    rows.razor_means = razor_means_.data() + row * 2 * dim;
    members_[member]->summaries->Add(rows);
  }
}

void LayerRunner::AttendSpans(int member, int64_t layer) {
  const auto num_units =
      static_cast<int64_t>(context_.weights->layers[layer].units.size());
  const auto num_spans = static_cast<int64_t>(batch_->spans.size());
  std::atomic<int64_t>& counter = Counter(layer, Work::kAttend);
  for (int64_t i = counter.fetch_add(1); i < num_units * num_spans;
       i = counter.fetch_add(1)) {
    AttendSpanOf(*members_[member], batch_->spans[i / num_units], layer,
                 i % num_units);
  }
}

void LayerRunner::AttendSpanOf(Member& self, const AttendSpan& span,
                               int64_t layer, int64_t unit) {
  const UnitKv& kv = KvOf(span.piece, layer, unit);
  if (kv.is_elsewhere) return;
  if (!kv.is_plain()) {
    return AttendByPolicy(self, span, layer, unit);
  }
  if ((*pieces_)[span.piece].probe != nullptr) {
    ProbeSpan(self, span, layer, unit);
  }
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
  args.layout = kv.layout;
  args.blocks = kv.blocks.data();
  args.begin = span.range_begin;
  args.end = span.range_end;
  args.queries = queries_.data() + first * g * dim;
  args.visible_end = self.visible.data();
  args.num_rows = num_rows;
  args.scratch = self.attend.data();
  if (kv.is_cut) return AttendCut(self, span, args, layer, unit);
  if (span.partial < 0) {
    return AttendWhole(self, span, args, attended_.data() + first * g * dim);
  }
  const int64_t stride = batch_->max_partial_rows * g;
  const int64_t at = (unit * batch_->num_partials + span.partial) * stride;
  args.out = partial_out_.data() + at * dim;
  args.lse = partial_lse_.data() + at;
  kernels_.attend(args);
}

// Policies cut their spans themselves: the first range stands for all.
void LayerRunner::AttendByPolicy(Member& self, const AttendSpan& span,
                                 int64_t layer, int64_t unit) {
  if (span.partial >= 0 && span.range_begin > 0) return;
  const PartRange part = {span.first_row, span.first_row + span.num_rows};
  const UnitRows rows = UnitRowsOf(span.piece, part, layer, unit);
  self.policies->Attend(rows);
  const FloatBlocks& persistent =
      context_.weights->layers[layer].units[unit].persistent;
  if (persistent.num_rows() == 0) return;
  self.policies->Add(rows, {&persistent, persistent.num_rows()});
}

UnitRows LayerRunner::UnitRowsOf(int64_t piece, PartRange part, int64_t layer,
                                 int64_t unit) {
  const int64_t width = hyper_.heads_per_kv_head() * hyper_.head_dim;
  const BatchPiece& whole = batch_->pieces[piece];
  const int64_t row = unit * batch_->num_rows + whole.first_row + part.begin;
  UnitRows rows;
  rows.kv = &KvOf(piece, layer, unit);
  rows.prompt_len = (*pieces_)[piece].kv->prompt_len;
  rows.first_position = whole.first_position + part.begin;
  rows.num_rows = part.end - part.begin;
  rows.queries = queries_.data() + row * width;
  rows.plain_queries = plain_queries_.data() + row * width;
  rows.razor_means = razor_means_.data() + row * 2 * hyper_.head_dim;
  rows.out = attended_.data() + row * width;
  return rows;
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
                     hyper_.head_dim};
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

void LayerRunner::ScaleHeads(const SequenceKv& kv, int64_t layer, int64_t unit,
                             float* mixed) const {
  if (kv.plan == nullptr) return;
  const int64_t g = hyper_.heads_per_kv_head();
  const int64_t dim = hyper_.head_dim;
  const int64_t kv_head = context_.weights->layers[layer].units[unit].kv_head;
  for (int64_t h = 0; h < g; ++h) {
    const QueryHeadPlan& head = kv.plan->head(layer, kv_head * g + h);
    const float scale = head.mask == HeadMask::kZero ? 0.0f : head.output_scale;
    if (scale == 1.0f) continue;
    for (int64_t d = 0; d < dim; ++d) mixed[h * dim + d] *= scale;
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
    if (!units[unit].is_owner) continue;
    for (int64_t row = part.begin; row < part.end; ++row) {
      const int64_t at = (unit * batch_->num_rows + row) * width;
      float* mixed = rows.mixed.data() + at;
      const int64_t piece = piece_of_row_[row];
      const bool by_policy = !KvOf(piece, layer, unit).is_plain();
      const bool is_cut = KvOf(piece, layer, unit).is_cut;
      float* lse = members_[member]->lse.data();
      if (is_cut) MergeGathered(layer, unit, row, mixed, lse);
      const RowPartials cut =
          by_policy || is_cut ? RowPartials{} : batch_->row_partials[row];
      if (cut.num_partials == 0 && !is_cut) {
        std::memcpy(mixed, attended_.data() + at,
                    static_cast<size_t>(width) * sizeof(float));
      }
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
      if (is_mixed_) MixMemory(units[unit].memory, unit, row, mixed);
      ScaleHeads(*(*pieces_)[piece].kv, layer, unit, mixed);
      if (units[unit].output.is_quantized()) {
        kernels_.quantize(mixed, width, rows.mixed_q[unit].Row(row));
      }
    }
  }
  if (!every_member_) context_.team->Barrier();
}

void LayerRunner::ProjectOutput(int member, int64_t layer, int64_t block) {
  const std::vector<UnitWeights>& units = context_.weights->layers[layer].units;
  const int64_t width = hyper_.heads_per_kv_head() * hyper_.head_dim;
  const bool is_memory = blocks_[block] == LayerBlock::kMemory;
  const Rows& rows = RowsOf(member);
  const PartRange groups =
      PartOf(hyper_.model_dim / 16, member, static_cast<int>(num_threads_));
  ClearSums(groups);
  for (int64_t unit = 0; unit < static_cast<int64_t>(units.size()); ++unit) {
    if (!units[unit].is_owner) continue;
    MultiplyAndAdd(
        {is_memory ? &units[unit].memory.output : &units[unit].output,
         rows.mixed_q[unit].View(),
         rows.mixed.data() + unit * batch_->num_rows * width, width, groups},
        &members_[member]->not_exact[block]);
  }
}

}  // namespace headwise
