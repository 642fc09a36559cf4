#include "worker/executor/executor_setup.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/work_grid.h"
#include "worker/executor/shard_weights.h"

namespace headwise {
namespace {

std::vector<float> MemoryInit(const Model& model, int64_t layer, int kv_head) {
  const TensorView* tensor =
      model.FindTensor(absl::StrCat("blk.", layer, ".mem_init"));
  if (tensor == nullptr) return {};
  std::vector<float> init(static_cast<size_t>(tensor->cols()));
  DequantizeRow(*tensor, kv_head, absl::MakeSpan(init));
  return init;
}

}  // namespace

bool HasCuts(const Shard& shard) {
  return std::any_of(
      shard.layers.begin(), shard.layers.end(),
      [](const Shard::Layer& layer) { return !layer.cuts.empty(); });
}

absl::Status CheckShape(const Model& model, const Shard& shard,
                        const ExecutorOptions& options) {
  if (options.num_threads < 1 || options.num_threads > 1024) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads ", options.num_threads, " is not in [1, 1024]"));
  }
  if (model.hyperparameters().titans && HasCuts(shard)) {
    return absl::UnimplementedError(
        "the contexts of titans models are not cut over ranks");
  }
  const WorkGrid grid = MakeWorkGrid(model.hyperparameters());
  if (static_cast<int64_t>(shard.vocab_tile_rank.size()) !=
      grid.num_vocab_tiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_tile_rank has ", shard.vocab_tile_rank.size(),
                     " entries, the model ", grid.num_vocab_tiles, " tiles"));
  }
  // A sum of n exact contributions below 2^51 each must stay below 2^63.
  if (grid.num_units + grid.num_mlp_tiles > 4096) {
    return absl::UnimplementedError(absl::StrCat(
        "a layer of ", grid.num_units, " KV heads and ", grid.num_mlp_tiles,
        " MLP tiles has more than 4096 terms in an exact sum"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> KvBytesBeside(const Model& model, const Shard& shard,
                                      const ExecutorOptions& options) {
  if (options.memory_bytes == 0) return options.kv_capacity_bytes;
  HEADWISE_ASSIGN_OR_RETURN(const int64_t weight_bytes,
                            PackedShardBytes(model, shard));
  const int64_t num_units = shard.num_units();
  const KvLayout layout = {options.kv_type, model.hyperparameters().head_dim};
  const int64_t least =
      num_units *
      (layout.block_bytes() + model.hyperparameters().unit_state_bytes());
  const int64_t left = options.memory_bytes - weight_bytes;
  if (left >= std::min(least, options.kv_capacity_bytes) && left >= 0) {
    return std::min(left, options.kv_capacity_bytes);
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "the shard needs ", weight_bytes, " bytes for packed weights and ", least,
      " for a KV block, and any memory, of each of its ", num_units,
      " units; this worker's --memory-bytes is ", options.memory_bytes));
}

SequencesOptions SequencesOf(const Model& model, const Shard& shard,
                             const ExecutorOptions& options) {
  const Hyperparameters& hyper = model.hyperparameters();
  SequencesOptions out;
  for (size_t layer = 0; layer < shard.layers.size(); ++layer) {
    for (const int kv_head : shard.layers[layer].units) {
      SequencesOptions::UnitName& unit = out.units.emplace_back();
      unit.layer = static_cast<int64_t>(layer);
      unit.kv_head = kv_head;
      unit.memory_init = MemoryInit(model, unit.layer, kv_head);
      for (const ContextCut& cut : shard.layers[layer].cuts) {
        if (cut.kv_head != kv_head) continue;
        unit.is_owner = cut.owner == shard.rank;
        for (const int rank : cut.rank_of_range) {
          unit.held_ranges.push_back(rank == shard.rank);
        }
      }
    }
  }
  out.has_cuts = HasCuts(shard);
  out.capacity_bytes = options.kv_capacity_bytes;
  out.default_element = options.kv_type;
  out.num_layers = hyper.num_layers;
  out.num_heads = hyper.num_heads;
  out.num_kv_heads = hyper.num_kv_heads;
  out.head_dim = hyper.kv_head_dim();
  out.vocab_size = hyper.vocab_size;
  out.default_unit = DefaultUnitPolicy(hyper);
  out.titans = hyper.titans;
  return out;
}

}  // namespace headwise
