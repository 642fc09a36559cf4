// The fixed pieces into which a model's work is cut, whoever does them.
//
// The bits of an answer depend on these cuts (they say where float sums end and
// exact sums begin), so they are functions of the model's shape alone: never of
// workers, threads or batch. Logits change with the constants: then the
// numerics of base/own_build.cc are others, and CHANGELOG.md says so.

#ifndef HEADWISE_MODEL_WORK_GRID_H_
#define HEADWISE_MODEL_WORK_GRID_H_

#include <algorithm>
#include <cstdint>

#include "model/hyperparameters.h"

namespace headwise {

struct WorkGrid {
  int64_t num_layers = 0;
  int64_t num_units = 0;       // per layer: one per KV head
  int64_t mlp_tile_width = 0;  // columns of the hidden layer, last may be less
  int64_t num_mlp_tiles = 0;   // per layer
  int64_t vocab_tile_width = 0;  // rows of the output matrix, last may be less
  int64_t num_vocab_tiles = 0;
};

inline constexpr int64_t kVocabTileWidth = 1024;

// Width: the largest multiple of 64 that is at most 256 and gives at least 8
// tiles, so that 8 workers can share a small model; 64 if none does.
inline WorkGrid MakeWorkGrid(const Hyperparameters& hyper) {
  WorkGrid grid;
  grid.num_layers = hyper.num_layers;
  grid.num_units = hyper.num_kv_heads;
  grid.mlp_tile_width =
      std::clamp<int64_t>(hyper.ffn_dim / 8 / 64 * 64, 64, 256);
  grid.num_mlp_tiles =
      (hyper.ffn_dim + grid.mlp_tile_width - 1) / grid.mlp_tile_width;
  grid.vocab_tile_width = kVocabTileWidth;
  grid.num_vocab_tiles =
      (hyper.vocab_size + kVocabTileWidth - 1) / kVocabTileWidth;
  return grid;
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_WORK_GRID_H_
