// The matrix products of all layers, as a batch of so many rows needs them.

#include "worker/gpu_executor/gpu_lane.h"

namespace headwise {

MatMulArgs ProductOf(const PackedMatrix& weights, const DeviceRows& in,
                     int64_t num_rows) {
  MatMulArgs args;
  weights.Describe(&args);
  args.last_group = weights.num_groups();
  args.rows = {in.q.q, in.q.scale, in.q.scaled_sum, in.q.half_offset, in.n};
  args.x = in.x;
  args.x_stride = in.n;
  args.num_tokens = num_rows;
  return args;
}

// They depend on the number of rows and on where flags are told alone.
void GpuLane::ListProducts() {
  if (listed_rows_ == batch_->num_rows && listed_flags_ == flags_travel()) {
    return;
  }
  listed_rows_ = batch_->num_rows;
  listed_flags_ = flags_travel();
  ProductLister lister(at_.products);
  products_.clear();
  for (int64_t layer = 0; layer < shape_.num_layers; ++layer) {
    LayerProducts& of_layer = products_.emplace_back();
    const DeviceLayer& weights = context_.weights->layers()[layer];
    ListAttention(weights, FlagOf(layer, GpuBlock::kAttention), &lister,
                  &of_layer);
    ListMlp(weights, FlagOf(layer, GpuBlock::kMlp), &lister, &of_layer);
  }
  lister.Upload(queue_);
}

void GpuLane::ListAttention(const DeviceLayer& weights, int* flag,
                            ProductLister* lister, LayerProducts* out) const {
  const int64_t rows = batch_->num_rows;
  const int64_t dim = hyper_.head_dim;
  const int64_t width = hyper_.heads_per_kv_head() * dim;
  std::vector<MatMulArgs> heads;
  std::vector<MatMulArgs> outputs;
  const auto add_head = [&](const PackedMatrix& matrix, float* to,
                            int64_t stride) {
    MatMulArgs& product =
        heads.emplace_back(ProductOf(matrix, at_.normed, rows));
    product.out = to;
    product.out_stride = stride;
  };
  for (size_t i = 0; i < weights.units.size(); ++i) {
    const DeviceUnit& unit = weights.units[i];
    const int64_t first_row = static_cast<int64_t>(i) * rows;
    add_head(unit.query, at_.plain_queries + first_row * width, width);
    add_head(unit.key, at_.plain_keys + first_row * dim, dim);
    add_head(unit.value, at_.values + first_row * dim, dim);
    outputs.push_back(
        SumOf(unit.output, at_.mixed.From(first_row * width, width), flag));
  }
  out->heads = lister->Add(heads);
  out->outputs = lister->Add(outputs);
}

// Tiles lie one after the other, each with all its rows.
void GpuLane::ListMlp(const DeviceLayer& weights, int* flag,
                      ProductLister* lister, LayerProducts* out) const {
  const int64_t rows = batch_->num_rows;
  std::vector<MatMulArgs> gate_ups;
  std::vector<MatMulArgs> downs;
  const auto add = [&](const PackedMatrix& matrix, float* to, int64_t width) {
    MatMulArgs& product =
        gate_ups.emplace_back(ProductOf(matrix, at_.normed, rows));
    product.out = to;
    product.out_stride = width;
  };
  int64_t at = 0;
  for (const DeviceMlpTile& tile : weights.mlp_tiles) {
    add(tile.gate, at_.gate + at, tile.width);
    add(tile.up, at_.up + at, tile.width);
    downs.push_back(SumOf(tile.down, at_.hidden.From(at, tile.width), flag));
    at += rows * tile.width;
  }
  out->num_hidden = at;
  out->gate_ups = lister->Add(gate_ups);
  out->downs = lister->Add(downs);
}

// A product that is added to the layer's sums.
MatMulArgs GpuLane::SumOf(const PackedMatrix& weights, const DeviceRows& in,
                          int* flag) const {
  MatMulArgs args = ProductOf(weights, in, batch_->num_rows);
  args.sink = ProductSink::kAddExact;
  args.acc = at_.sums;
  args.out_stride = shape_.model_dim;
  args.not_exact = flag;
  return args;
}

// In a group the flag travels with the sums, as their last value.
int* GpuLane::FlagOf(int64_t layer, GpuBlock block) const {
  return flags_travel()
             ? reinterpret_cast<int*>(at_.sums + num_sums())
             : at_.flags + layer * kNumGpuBlocks + static_cast<int64_t>(block);
}

}  // namespace headwise
