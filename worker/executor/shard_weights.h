// The weights of one rank's shard, packed for the kernels.

#ifndef HEADWISE_WORKER_EXECUTOR_SHARD_WEIGHTS_H_
#define HEADWISE_WORKER_EXECUTOR_SHARD_WEIGHTS_H_

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/thread_team.h"
#include "model/model.h"
#include "model/work_grid.h"
#include "worker/backends/cpu/packed_matrix.h"
#include "worker/executor/executor.h"
#include "worker/executor/float_blocks.h"
#include "worker/executor/piece_storage.h"

namespace headwise {

// The neural memory of one head of a titans model (docs/titans-models.md).
struct MemoryWeights {
  PackedMatrix query;  // [head_dim, model_dim]
  // Empty in kMac, which makes them of what its attention gives.
  PackedMatrix key;    // [head_dim, model_dim]
  PackedMatrix value;  // [head_dim, model_dim]
  // Of q, k and v: [conv_kernel][head_dim], or empty.
  std::array<std::vector<float>, 3> conv;
  PackedMatrix output;             // [model_dim, head_dim]; not where mixed
  std::vector<float> output_norm;  // [head_dim]
  std::vector<float> mix_norm;     // [head_dim], of the attention; where mixed
  // kMac, [head_dim, head_dim]: from what was read to context keys and values;
  // from what attention gave to what is read with and written.
  PackedMatrix context_key, context_value;
  PackedMatrix inner_query, inner_key, inner_value;
};

// Pieces are cheap to copy: copies share what `storage` holds, which is packed
// once and never changed. Null: nothing is packed (yet).
using SharedStorage = std::shared_ptr<const PieceStorage>;

// One unit: a KV head with the g = heads_per_kv_head query heads that share it.
struct UnitWeights {
  int kv_head = 0;
  // Index in LayerWeights::cuts, or -1: the context is not cut.
  int cut = -1;
  // Whether this rank has the output; another rank's cut unit has none here.
  bool is_owner = true;
  PackedMatrix query;             // [g * head_dim, model_dim]
  PackedMatrix key;               // [head_dim, model_dim]
  PackedMatrix value;             // [head_dim, model_dim]
  PackedMatrix output;            // [model_dim, g * head_dim]
  std::vector<float> query_bias;  // [g * head_dim] or empty
  std::vector<float> key_bias;    // [head_dim] or empty
  std::vector<float> value_bias;  // [head_dim] or empty
  FloatBlocks persistent;         // rows that every query sees; titans models
  MemoryWeights memory;           // titans models
  SharedStorage storage;
};

// One tile of the MLP: `width` columns of the hidden layer.
struct MlpTileWeights {
  int64_t width = 0;
  PackedMatrix gate;  // [width, model_dim]
  PackedMatrix up;    // [width, model_dim]
  PackedMatrix down;  // [model_dim, width]
  int index = 0;      // of the tile in its layer
  SharedStorage storage;
};

struct LayerWeights {
  std::vector<float> attention_norm;  // [model_dim]
  std::vector<float> query_norm;      // [head_dim] or empty
  std::vector<float> key_norm;        // [head_dim] or empty
  std::vector<float> mlp_norm;        // [model_dim]
  std::vector<float> memory_norm;     // [model_dim] or empty
  // Theta of all heads of the layer, eta, alpha.
  PackedMatrix memory_gate;             // [3 * num_heads, model_dim] or empty
  std::vector<float> memory_gate_bias;  // [3 * num_heads] or empty
  SharedStorage storage;                // of memory_gate
  std::vector<UnitWeights> units;
  std::vector<ContextCut> cuts;  // of all ranks
  std::vector<MlpTileWeights> mlp_tiles;
};

struct VocabTileWeights {
  int index = 0;      // of the tile in the vocabulary
  PackedMatrix rows;  // [vocab_tile_width, model_dim]; the last tile less
  SharedStorage storage;
};

struct ShardWeights {
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;  // [model_dim]
  std::vector<VocabTileWeights> vocab_tiles;
  int64_t bytes = 0;         // of all packed matrices
  int64_t loaded_bytes = 0;  // of them: packed anew, not held before
};

// Bytes that the packed matrices of the shard will take; reads no weights.
// InvalidArgument for a shard that names what the model has not.
absl::StatusOr<int64_t> PackedShardBytes(const Model& model,
                                         const Shard& shard);

// Packs on all members of `team`. `progress` is called by the caller's thread
// and may be empty; once it returns false, the answer is Cancelled.
// InvalidArgument as above; Unimplemented for a shape that the kernels have
// not, with the tensor's name.
//
// `held`, if not null, is what was packed of the same model before. Of it,
// pieces that the shard has are taken as they lie, and the others go before
// anything is packed. Afterwards it is what is packed now: all of the shard,
// or, if the packing failed or was ended, the pieces that were done.
absl::StatusOr<ShardWeights> PackShard(
    const Model& model, const Shard& shard, ThreadTeam& team,
    const std::function<bool(double)>& progress, ShardWeights* held = nullptr);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_SHARD_WEIGHTS_H_
