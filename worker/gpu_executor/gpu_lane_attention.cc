// The attention half of a layer on a device.

#include <algorithm>

#include "worker/gpu_executor/gpu_lane.h"

namespace headwise {

void GpuLane::RunAttention(int64_t layer) {
  NormRows(context_.weights->layers()[layer].attention_norm);
  ProjectHeads(layer);
  FinishHeads(layer);
  StoreKeyValues(layer);
  Attend(layer);
  ScaleHeads(tables_.OutputFactorsOf(layer), /*clears=*/false, layer,
             at_.mixed.x);
  ProjectOutput(layer);
}

void GpuLane::ProjectHeads(int64_t layer) {
  const int64_t rows = batch_->num_rows;
  const int64_t dim = hyper_.head_dim;
  const int64_t width = hyper_.heads_per_kv_head() * dim;
  RunProducts(products_[layer].heads, queue_);
  int64_t first_row = 0;
  for (const DeviceUnit& unit : context_.weights->layers()[layer].units) {
    if (unit.query_bias == nullptr) return;
    queue_.RunItems<cuda::AddBias>({unit.query_bias, width,
                                    at_.plain_queries + first_row * width,
                                    rows * width});
    queue_.RunItems<cuda::AddBias>(
        {unit.key_bias, dim, at_.plain_keys + first_row * dim, rows * dim});
    queue_.RunItems<cuda::AddBias>(
        {unit.value_bias, dim, at_.values + first_row * dim, rows * dim});
    first_row += rows;
  }
}

// Norms and rotations, of all units at once.
void GpuLane::FinishHeads(int64_t layer) {
  const DeviceLayer& weights = context_.weights->layers()[layer];
  const int64_t g = hyper_.heads_per_kv_head();
  const auto num_units = static_cast<int64_t>(weights.units.size());
  const int64_t num_keys = num_units * batch_->num_rows;
  const auto norm = [&](const float* weight, float* x, int64_t num_heads) {
    if (weight == nullptr) return;
    queue_.Run<cuda::RmsNorm>(
        {x, weight, hyper_.norm_epsilon, hyper_.head_dim, x}, num_heads);
  };
  norm(weights.query_norm, at_.plain_queries, num_keys * g);
  norm(weights.key_norm, at_.plain_keys, num_keys);
  // Scores of 0 are uniform attention over what the head sees.
  ScaleHeads(tables_.QueryFactorsOf(layer), /*clears=*/true, layer,
             at_.plain_queries);
  cuda::RotateHeadsArgs rotate;
  rotate.cosines = at_.cosines;
  rotate.sines = at_.sines;
  rotate.num_pairs = shape_.num_pairs;
  rotate.is_interleaved = hyper_.rope.layout == RopeLayout::kInterleaved;
  rotate.head_dim = hyper_.head_dim;
  rotate.num_rows = batch_->num_rows;
  rotate.in = at_.plain_queries;
  rotate.out = at_.queries;
  rotate.heads_per_row = g;
  rotate.scale = softmax_scale_;
  rotate.num_items = num_keys * g * hyper_.head_dim;
  queue_.RunItems<cuda::RotateHeads>(rotate);
  rotate.in = at_.plain_keys;
  rotate.out = at_.keys;
  rotate.heads_per_row = 1;
  rotate.scale = 1.0f;
  rotate.num_items = num_keys * hyper_.head_dim;
  queue_.RunItems<cuda::RotateHeads>(rotate);
}

void GpuLane::ScaleHeads(const float* factors, bool clears, int64_t layer,
                         float* x) {
  if (factors == nullptr) return;
  cuda::ScaleHeadsArgs args;
  args.x = x;
  args.factors = factors;
  args.piece_of_row = tables_.piece_of_row;
  args.clears = clears;
  args.head_dim = hyper_.head_dim;
  args.g = hyper_.heads_per_kv_head();
  args.num_rows = batch_->num_rows;
  args.num_pieces = tables_.num_pieces();
  args.num_items = num_units(layer) * args.num_rows * args.g * args.head_dim;
  queue_.RunItems<cuda::ScaleHeads>(args);
}

void GpuLane::StoreKeyValues(int64_t layer) {
  const int64_t count = num_units(layer) * batch_->num_rows;
  cuda::ListAppendsArgs list;
  list.tables = tables_.BlocksOf(layer);
  list.positions = tables_.positions;
  list.piece_of_row = tables_.piece_of_row;
  list.keys = at_.keys;
  list.values = at_.values;
  list.num_rows = batch_->num_rows;
  list.out = at_.appends;
  list.num_items = count;
  queue_.RunItems<cuda::ListAppends>(list);
  queue_.Run<cuda::Append>({at_.appends}, count);
}

// Parts in waves: as many at once as the partials have room for.
void GpuLane::Attend(int64_t layer) {
  const int64_t num_units = this->num_units(layer);
  cuda::ListAttendsArgs list;
  list.tables = tables_.BlocksOf(layer);
  list.wave.views = tables_.ViewsOf(layer);
  list.wave.width = tables_.wave_width();
  list.wave.part_out = at_.part_out;
  list.wave.part_lse = at_.part_lse;
  list.wave.num_rows = batch_->num_rows;
  list.wave.g = hyper_.heads_per_kv_head();
  list.pieces = tables_.pieces;
  list.visible_end = tables_.visible_end;
  list.queries = at_.queries;
  list.out = at_.attends;
  list.num_items = num_units * list.wave.width * tables_.num_pieces();
  const int64_t num_blocks =
      num_units * list.wave.width * tables_.blocks_per_part();
  const int64_t num_parts = tables_.num_parts(layer);
  for (int64_t first = 0; first < num_parts; first += list.wave.width) {
    list.wave.first_part = first;
    queue_.RunItems<cuda::ListAttends>(list);
    queue_.Run<cuda::Attend>(
        {at_.attends, tables_.first_attends, list.num_items}, num_blocks);
    queue_.Run<cuda::MergeParts>({list.wave, tables_.piece_of_row,
                                  hyper_.head_dim, at_.mixed.x, at_.lse},
                                 num_units * batch_->num_rows * list.wave.g);
  }
}

void GpuLane::ProjectOutput(int64_t layer) {
  const int64_t width = hyper_.heads_per_kv_head() * hyper_.head_dim;
  // Else its weights are floats.
  if (width % 32 == 0) {
    Quantize(at_.mixed, num_units(layer) * batch_->num_rows * width);
  }
  RunProducts(products_[layer].outputs, queue_);
}

}  // namespace headwise
