// The neural memories of a titans model (docs/titans-models.md): a block of
// their own, or a part of the attention's.
//
// All is done row by row in a fixed order, and the rows of one sequence and
// head by one thread in order of position; so neither batches nor threads nor
// ranks can change a bit.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "worker/executor/layer_runner.h"

namespace headwise {
namespace {

constexpr float kLeastLength = 1e-6f;  // that a row is divided by
constexpr int64_t kMaxTail = 7;        // rows; conv_kernel is at most 8
constexpr int64_t kMaxHeadDim = 256;   // of a memory

// The causal depthwise convolution in place: row r becomes the sum over taps j
// of taps[j] * (input row r - (num_taps - 1) + j), j ascending. `tail` has the
// input rows before x, and afterwards those that the next rows need.
void Convolve(const std::vector<float>& taps, int64_t dim, int64_t num_rows,
              float* tail, float* x) {
  const int64_t tail_rows = static_cast<int64_t>(taps.size()) / dim - 1;
  const auto input = [&](int64_t row) -> const float* {
    return row >= 0 ? x + row * dim : tail + (tail_rows + row) * dim;
  };
  std::array<float, kMaxTail * kMaxHeadDim> next;
  for (int64_t i = 0; i < tail_rows; ++i) {
    std::copy_n(input(num_rows - tail_rows + i), dim, next.data() + i * dim);
  }
  std::array<float, kMaxHeadDim> sum;
  for (int64_t row = num_rows - 1; row >= 0; --row) {
    std::fill_n(sum.data(), dim, 0.0f);
    for (int64_t j = 0; j <= tail_rows; ++j) {
      const float* from = input(row - tail_rows + j);
      const float* tap = taps.data() + j * dim;
      for (int64_t d = 0; d < dim; ++d) sum[d] += tap[d] * from[d];
    }
    std::copy_n(sum.data(), dim, x + row * dim);
  }
  std::copy_n(next.data(), tail_rows * dim, tail);
}

// SiLU, then, of queries and keys, division by the length.
void Activate(const MemoryKernels& kernels, int64_t dim, int64_t num_rows,
              bool normalize, float* x) {
  kernels.activate(MemoryActivation::kSilu, x, num_rows * dim, x, nullptr);
  if (!normalize) return;
  for (int64_t row = 0; row < num_rows; ++row, x += dim) {
    const float length = std::sqrt(kernels.sum_of_squares(x, dim));
    kernels.scale(1.0f / std::max(length, kLeastLength), x, dim, x);
  }
}

void MultiplyRows(const Kernels& kernels, const PackedMatrix& weights,
                  const float* x, int64_t num_rows, float* out) {
  MatMulArgs args;
  weights.Describe(&args);
  args.last_group = weights.num_groups();
  args.x = x;
  args.x_stride = weights.cols();
  args.num_tokens = num_rows;
  args.out = out;
  args.out_stride = weights.rows();
  kernels.matmul(args);
}

}  // namespace

// Queries, keys and values of the memory; kMac: its queries. And the gates of
// all heads.
void LayerRunner::ProjectMemory(int member, int64_t layer) {
  const LayerWeights& weights = context_.weights->layers[layer];
  if (weights.units.empty()) return;
  const int64_t num_gate_groups = weights.memory_gate.num_groups();
  const int64_t num_parts = is_mac_ ? 1 : 3;
  const int64_t count =
      num_gate_groups + num_parts * static_cast<int64_t>(weights.units.size());
  const Rows& rows = RowsOf(member);
  std::atomic<int64_t>& counter = Counter(layer, Work::kProjectMemory);
  for (int64_t i = counter.fetch_add(1); i < count; i = counter.fetch_add(1)) {
    if (i < num_gate_groups) {
      Multiply({&weights.memory_gate,
                rows.normed_q.View(),
                rows.normed.data(),
                hyper_.model_dim,
                {i, i + 1}},
               gates_.data() + 16 * i, GateStride());
    } else {
      const int64_t item = i - num_gate_groups;
      ProjectMemoryInputs(rows, layer, item / num_parts, item % num_parts);
    }
  }
}

void LayerRunner::ProjectMemoryInputs(const Rows& rows, int64_t layer,
                                      int64_t unit, int64_t part) {
  const MemoryWeights& w = context_.weights->layers[layer].units[unit].memory;
  const int64_t dim = hyper_.head_dim;
  const std::array<const PackedMatrix*, 3> weights = {&w.query, &w.key,
                                                      &w.value};
  Multiply({weights[part],
            rows.normed_q.View(),
            rows.normed.data(),
            hyper_.model_dim,
            {0, dim / 16}},
           MemoryInputs(unit, part, 0), dim);
  for (size_t p = 0; p < batch_->pieces.size(); ++p) {
    const BatchPiece& piece = batch_->pieces[p];
    float* x = MemoryInputs(unit, part, piece.first_row);
    if (!w.conv[part].empty()) {
      std::vector<float>& tails =
          MemoryOf(static_cast<int64_t>(p), layer, unit).conv_tails;
      const auto tail_size = static_cast<int64_t>(tails.size()) / 3;
      Convolve(w.conv[part], dim, piece.num_rows,
               tails.data() + part * tail_size, x);
    }
    Activate(memory_kernels_, dim, piece.num_rows, /*normalize=*/part < 2, x);
  }
}

// Of one head, in place: theta_max times theta's gate, eta, alpha. The stretch
// lets a gate reach 0 and 1.
void LayerRunner::MakeGates(int64_t layer, int64_t unit,
                            const BatchPiece& piece) {
  const LayerWeights& weights = context_.weights->layers[layer];
  const TitansHyperparameters& titans = *hyper_.titans;
  for (int64_t gate = 0; gate < 3; ++gate) {
    const int64_t column =
        gate * hyper_.num_heads + weights.units[unit].kv_head;
    const float bias = weights.memory_gate_bias[column];
    for (int64_t i = 0; i < piece.num_rows; ++i) {
      float& z = gates_.data()[(piece.first_row + i) * GateStride() + column];
      const float sigmoid = 1.0f / (1.0f + kernels_.exp_one(-(z + bias)));
      z = titans.GateOf(gate, sigmoid);
    }
  }
}

void LayerRunner::WriteMemories(int member, int64_t layer) {
  const auto num_units =
      static_cast<int64_t>(context_.weights->layers[layer].units.size());
  const auto num_pieces = static_cast<int64_t>(batch_->pieces.size());
  std::atomic<int64_t>& counter = Counter(layer, Work::kWriteMemory);
  for (int64_t i = counter.fetch_add(1); i < num_units * num_pieces;
       i = counter.fetch_add(1)) {
    Member& self = *members_[member];
    const int64_t unit = i % num_units;
    const int64_t p = i / num_units;
    const BatchPiece& piece = batch_->pieces[p];
    MakeGates(layer, unit, piece);
    if (!is_mac_) {
      MemoryRows rows;
      rows.num_rows = piece.num_rows;
      rows.queries = MemoryInputs(unit, 0, piece.first_row);
      rows.keys = MemoryInputs(unit, 1, piece.first_row);
      rows.values = MemoryInputs(unit, 2, piece.first_row);
      WriteRows(self, rows, layer, unit, p, piece.first_row);
      continue;
    }
    const int64_t segment_len = hyper_.titans->window;
    for (int64_t begin = 0, end = 0; begin < piece.num_rows; begin = end) {
      const int64_t offset = (piece.first_position + begin) % segment_len;
      end = std::min(piece.num_rows, begin + segment_len - offset);
      RunSegment(self, layer, unit, p, {begin, end});
    }
  }
}

// `rows` has keys, values and queries; `first_row` is the batch's.
void LayerRunner::WriteRows(Member& self, MemoryRows rows, int64_t layer,
                            int64_t unit, int64_t piece, int64_t first_row) {
  const int64_t dim = hyper_.head_dim;
  const int64_t head = context_.weights->layers[layer].units[unit].kv_head;
  const float* gates = gates_.data() + first_row * GateStride() + head;
  rows.row_stride = dim;
  rows.theta = gates;
  rows.eta = gates + hyper_.num_heads;
  rows.alpha = gates + 2 * hyper_.num_heads;
  rows.gate_stride = GateStride();
  rows.out = memory_out_.data() + (unit * batch_->num_rows + first_row) * dim;
  absl::Status status = CheckMemoryRows(hyper_.titans->memory, rows);
  if (status.ok()) {
    status = MemoryOf(piece, layer, unit)
                 .head.Write(rows, memory_kernels_, self.memory);
  }
  if (status.ok()) return;
  self.memory_has_failed = true;
  // The fast reduction sees it in the logits.
  std::fill_n(rows.out, rows.num_rows * dim,
              std::numeric_limits<float>::quiet_NaN());
}

// kMac: rows of a piece that lie in one segment. What the memory read as the
// segment began is context beside the segment's own rows; what attention gave
// is written, and read with.
void LayerRunner::RunSegment(Member& self, int64_t layer, int64_t unit,
                             int64_t piece, PartRange part) {
  const UnitWeights& weights = context_.weights->layers[layer].units[unit];
  const MemoryWeights& w = weights.memory;
  UnitMemory& memory = MemoryOf(piece, layer, unit);
  const int64_t dim = hyper_.head_dim;
  const int64_t count = part.end - part.begin;
  const int64_t first_row = batch_->pieces[piece].first_row + part.begin;
  float* first = self.segment.data();
  float* second = first + count * dim;
  float* third = second + count * dim;
  memory.head.ReadChunkStart(MemoryInputs(unit, 0, first_row), count, dim,
                             third, memory_kernels_, self.memory);
  MultiplyRows(kernels_, w.context_key, third, count, first);
  MultiplyRows(kernels_, w.context_value, third, count, second);
  UnitRows rows = UnitRowsOf(piece, part, layer, unit);
  const int64_t offset = rows.first_position % hyper_.titans->window;
  for (int64_t i = 0; i < count; ++i) {
    memory.context.Put(offset + i, first + i * dim, second + i * dim);
  }
  rows.first_visible = rows.first_position - offset;
  self.policies->Attend(rows);
  if (weights.persistent.num_rows() > 0) {
    self.policies->Add(rows,
                       {&weights.persistent, weights.persistent.num_rows()});
  }
  self.policies->Add(rows, {&memory.context, offset + 1, /*step=*/1});
  MemoryRows written;
  written.num_rows = count;
  MultiplyRows(kernels_, w.inner_query, rows.out, count, first);
  MultiplyRows(kernels_, w.inner_key, rows.out, count, second);
  MultiplyRows(kernels_, w.inner_value, rows.out, count, third);
  Activate(memory_kernels_, dim, 2 * count, /*normalize=*/true, first);
  Activate(memory_kernels_, dim, count, /*normalize=*/false, third);
  written.queries = first;
  written.keys = second;
  written.values = third;
  WriteRows(self, written, layer, unit, piece, first_row);
}

// mix(y, m) of one head: y, which `mixed` has, times a gate of m.
void LayerRunner::MixMemory(const MemoryWeights& weights, int64_t unit,
                            int64_t row, float* mixed) const {
  const int64_t dim = hyper_.head_dim;
  const float epsilon = hyper_.norm_epsilon;
  std::array<float, kMaxHeadDim> gate;
  kernels_.rms_norm(memory_out_.data() + (unit * batch_->num_rows + row) * dim,
                    weights.output_norm.data(), epsilon, dim, gate.data());
  for (int64_t d = 0; d < dim; ++d) gate[d] = -gate[d];
  kernels_.exp_below(gate.data(), dim, 0.0f, gate.data());
  kernels_.rms_norm(mixed, weights.mix_norm.data(), epsilon, dim, mixed);
  for (int64_t d = 0; d < dim; ++d) mixed[d] *= 1.0f / (1.0f + gate[d]);
}

// As MixRows, of a block of memories alone.
void LayerRunner::MixMemories(int member, int64_t layer) {
  const std::vector<UnitWeights>& units = context_.weights->layers[layer].units;
  const int64_t dim = hyper_.head_dim;
  Rows& rows = RowsOf(member);
  const PartRange part = PartOfRows(member);
  for (int64_t unit = 0; unit < static_cast<int64_t>(units.size()); ++unit) {
    for (int64_t row = part.begin; row < part.end; ++row) {
      const int64_t at = (unit * batch_->num_rows + row) * dim;
      kernels_.rms_norm(memory_out_.data() + at,
                        units[unit].memory.output_norm.data(),
                        hyper_.norm_epsilon, dim, rows.mixed.data() + at);
    }
  }
  if (!every_member_) context_.team->Barrier();
}

void LayerRunner::Memory(int member, int64_t layer, int64_t block) {
  NormRows(member, context_.weights->layers[layer].memory_norm);
  ProjectMemory(member, layer);
  context_.team->Barrier();
  WriteMemories(member, layer);
  context_.team->Barrier();
  MixMemories(member, layer);
  ProjectOutput(member, layer, block);
}

}  // namespace headwise
