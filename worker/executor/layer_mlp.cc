// The MLP half of a layer.

#include <cstring>

#include "worker/executor/layer_runner.h"

namespace headwise {

// Work is shared out by blocks of 32 hidden columns: a block is what one scale
// of the int8 activations covers, so a thread can finish it alone.
void LayerRunner::GateUp(int member, int64_t layer) {
  const std::vector<MlpTileWeights>& tiles =
      context_.weights->layers[layer].mlp_tiles;
  const Rows& rows = RowsOf(member);
  int64_t num_blocks = 0;
  for (const MlpTileWeights& tile : tiles) num_blocks += tile.width / 32;
  const PartRange part =
      PartOf(num_blocks, member, static_cast<int>(num_threads_));
  int64_t first = 0;
  for (size_t t = 0; t < tiles.size(); ++t) {
    const int64_t count = tiles[t].width / 32;
    for (int64_t b = 0; b < count; ++b) {
      if (first + b < part.begin || first + b >= part.end) continue;
      GateUpBlock(*members_[member], rows, tiles[t], static_cast<int64_t>(t),
                  b);
    }
    first += count;
  }
}

void LayerRunner::GateUpBlock(Member& self, const Rows& rows,
                              const MlpTileWeights& tile, int64_t tile_index,
                              int64_t block) {
  const int64_t num_rows = batch_->num_rows;
  const PartRange groups = {2 * block, 2 * block + 2};
  float* gate = self.head.data();
  float* up = gate + 32 * num_rows;
  float* out = up + 32 * num_rows;
  Multiply({&tile.gate, rows.normed_q.View(), rows.normed.data(),
            hyper_.model_dim, groups},
           gate, 32);
  Multiply({&tile.up, rows.normed_q.View(), rows.normed.data(),
            hyper_.model_dim, groups},
           up, 32);
  kernels_.silu_multiply(gate, up, 32 * num_rows, out);
  const int64_t capacity = tile_width_ * num_rows;
  float* hidden = hidden_.data() + tile_index * capacity + 32 * block;
  for (int64_t row = 0; row < num_rows; ++row) {
    if (tile.down.is_quantized()) {
      kernels_.quantize(out + 32 * row, 32,
                        hidden_q_[tile_index].Row(row, 32 * block));
    } else {
      std::memcpy(hidden + row * tile_width_, out + 32 * row,
                  32 * sizeof(float));
    }
  }
}

void LayerRunner::Down(int member, int64_t layer, int64_t block) {
  const std::vector<MlpTileWeights>& tiles =
      context_.weights->layers[layer].mlp_tiles;
  const int64_t capacity = tile_width_ * batch_->num_rows;
  const PartRange groups =
      PartOf(hyper_.model_dim / 16, member, static_cast<int>(num_threads_));
  ClearSums(groups);
  for (size_t t = 0; t < tiles.size(); ++t) {
    MultiplyAndAdd({&tiles[t].down, hidden_q_[t].View(),
                    hidden_.data() + static_cast<int64_t>(t) * capacity,
                    tile_width_, groups},
                   &members_[member]->not_exact[block]);
  }
}

}  // namespace headwise
