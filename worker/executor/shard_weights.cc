#include "worker/executor/shard_weights.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// Packing to be done: the part of `tensor` that goes to `*destination`.
struct PackJob {
  const TensorView* tensor;
  MatrixPart part;
  PackedMatrix* destination;
  int64_t offset;  // in the shard's memory
};

std::vector<float> FloatRow(const TensorView* tensor, int64_t first,
                            int64_t count) {
  if (tensor == nullptr) return {};
  std::vector<float> all(static_cast<size_t>(tensor->cols()));
  DequantizeRow(*tensor, 0, absl::MakeSpan(all));
  return {all.begin() + first, all.begin() + first + count};
}

// Rows [first, first + count) of a matrix, transposed; empty without it.
std::vector<float> TransposedRows(const TensorView* tensor, int64_t first,
                                  int64_t count) {
  if (tensor == nullptr) return {};
  const int64_t cols = tensor->cols();
  std::vector<float> row(static_cast<size_t>(cols));
  std::vector<float> out(static_cast<size_t>(cols * count));
  for (int64_t r = 0; r < count; ++r) {
    DequantizeRow(*tensor, first + r, absl::MakeSpan(row));
    for (int64_t c = 0; c < cols; ++c) out[c * count + r] = row[c];
  }
  return out;
}

// Rows of keys and values of one head, [num_heads, rows, head_dim] tensors.
FloatBlocks HeadRows(const TensorView* keys, const TensorView* values,
                     int64_t head) {
  if (keys == nullptr) return {};
  const int64_t num_rows = keys->shape[1];
  std::vector<float> key(static_cast<size_t>(keys->cols()));
  std::vector<float> value = key;
  FloatBlocks blocks(num_rows, keys->cols());
  for (int64_t r = 0; r < num_rows; ++r) {
    DequantizeRow(*keys, head * num_rows + r, absl::MakeSpan(key));
    DequantizeRow(*values, head * num_rows + r, absl::MakeSpan(value));
    blocks.Put(r, key.data(), value.data());
  }
  return blocks;
}

class ShardPacker {
 public:
  ShardPacker(const Model& model, const Shard& shard)
      : model_(model),
        shard_(shard),
        hyper_(model.hyperparameters()),
        grid_(MakeWorkGrid(hyper_)) {}

  absl::Status Validate() const;
  // Lays out `weights` and lists what is to be packed into it.
  void Plan(ShardWeights* weights);
  const std::vector<PackJob>& jobs() const { return jobs_; }
  int64_t bytes() const { return bytes_; }

 private:
  const TensorView* Tensor(int64_t layer, absl::string_view name) const {
    return model_.FindTensor(absl::StrCat("blk.", layer, ".", name));
  }
  // Without such a tensor nothing.
  void Add(const TensorView* tensor, MatrixPart part, PackedMatrix* to) {
    if (tensor == nullptr) return;
    jobs_.push_back({tensor, part, to, bytes_});
    bytes_ += PackedMatrix::BytesOf(tensor->dtype, part);
  }
  void PlanUnit(int64_t layer, int kv_head, UnitWeights* unit);
  void PlanMemory(int64_t layer, int head, UnitWeights* unit);
  void PlanMlpTile(int64_t layer, int tile, MlpTileWeights* weights);
  void PlanVocabTile(int index, VocabTileWeights* tile);

  const Model& model_;
  const Shard& shard_;
  const Hyperparameters& hyper_;
  const WorkGrid grid_;
  std::vector<PackJob> jobs_;
  int64_t bytes_ = 0;  // of all jobs
};

absl::Status CheckIndices(const std::vector<int>& indices, int64_t limit,
                          const std::string& what) {
  int previous = -1;
  for (int index : indices) {
    if (index <= previous || index >= limit) {
      return absl::InvalidArgumentError(absl::StrCat(
          what, " ", index,
          " in the shard: indices must ascend and stay below ", limit));
    }
    previous = index;
  }
  return absl::OkStatus();
}

// A rank that a cut involves has the unit, and no other rank has.
absl::Status CheckCuts(const Shard& shard, const Shard::Layer& layer,
                       int64_t num_units) {
  std::vector<int> cut_units;
  for (const ContextCut& cut : layer.cuts) {
    cut_units.push_back(cut.kv_head);
    const bool has_unit =
        std::binary_search(layer.units.begin(), layer.units.end(), cut.kv_head);
    if (cut.rank_of_range.empty() || has_unit != cut.Involves(shard.rank)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the cut of KV head ", cut.kv_head, " in the shard of rank ",
          shard.rank, " does not go with the rank's units"));
    }
  }
  return CheckIndices(cut_units, num_units, "cut KV head");
}

absl::Status ShardPacker::Validate() const {
  if (static_cast<int64_t>(shard_.layers.size()) != grid_.num_layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("the shard has ", shard_.layers.size(),
                     " layers, the model ", grid_.num_layers));
  }
  for (const Shard::Layer& layer : shard_.layers) {
    HEADWISE_RETURN_IF_ERROR(
        CheckIndices(layer.units, grid_.num_units, "KV head"));
    HEADWISE_RETURN_IF_ERROR(CheckCuts(shard_, layer, grid_.num_units));
    HEADWISE_RETURN_IF_ERROR(
        CheckIndices(layer.mlp_tiles, grid_.num_mlp_tiles, "MLP tile"));
  }
  if (hyper_.model_dim % 32 != 0 || hyper_.head_dim % 16 != 0 ||
      hyper_.ffn_dim % 32 != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "model_dim ", hyper_.model_dim, " and ffn_dim ", hyper_.ffn_dim,
        " must be multiples of 32, head_dim ", hyper_.head_dim, " of 16"));
  }
  return CheckIndices(shard_.vocab_tiles, grid_.num_vocab_tiles,
                      "vocabulary tile");
}

void ShardPacker::PlanUnit(int64_t layer, int kv_head, UnitWeights* unit) {
  const int64_t dim = hyper_.head_dim;
  const int64_t width = hyper_.heads_per_kv_head() * dim;
  const int64_t model_dim = hyper_.model_dim;
  const MatrixPart query = {kv_head * width, (kv_head + 1) * width, 0,
                            model_dim};
  const MatrixPart key = {kv_head * dim, (kv_head + 1) * dim, 0, model_dim};
  unit->kv_head = kv_head;
  Add(Tensor(layer, "attn_q.weight"), query, &unit->query);
  Add(Tensor(layer, "attn_k.weight"), key, &unit->key);
  Add(Tensor(layer, "attn_v.weight"), key, &unit->value);
  const std::vector<ContextCut>& cuts = shard_.layers[layer].cuts;
  for (size_t i = 0; i < cuts.size(); ++i) {
    if (cuts[i].kv_head != kv_head) continue;
    unit->cut = static_cast<int>(i);
    unit->is_owner = cuts[i].owner == shard_.rank;
  }
  if (unit->is_owner) {
    Add(Tensor(layer, "attn_output.weight"),
        {0, model_dim, kv_head * width, (kv_head + 1) * width}, &unit->output);
  }
  if (hyper_.titans) PlanMemory(layer, kv_head, unit);
  if (!hyper_.qkv_bias) return;
  unit->query_bias =
      FloatRow(Tensor(layer, "attn_q.bias"), kv_head * width, width);
  unit->key_bias = FloatRow(Tensor(layer, "attn_k.bias"), kv_head * dim, dim);
  unit->value_bias = FloatRow(Tensor(layer, "attn_v.bias"), kv_head * dim, dim);
}

// What a variant has not is not in its file.
void ShardPacker::PlanMemory(int64_t layer, int head, UnitWeights* unit) {
  const int64_t dim = hyper_.head_dim;
  const int64_t first = head * dim;
  const MatrixPart of_model = {first, first + dim, 0, hyper_.model_dim};
  const MatrixPart of_head = {first, first + dim, 0, dim};
  MemoryWeights& memory = unit->memory;
  unit->persistent = HeadRows(Tensor(layer, "persistent_k"),
                              Tensor(layer, "persistent_v"), head);
  Add(Tensor(layer, "mem_q.weight"), of_model, &memory.query);
  Add(Tensor(layer, "mem_k.weight"), of_model, &memory.key);
  Add(Tensor(layer, "mem_v.weight"), of_model, &memory.value);
  Add(Tensor(layer, "mem_output.weight"),
      {0, hyper_.model_dim, first, first + dim}, &memory.output);
  Add(Tensor(layer, "mac_context_k.weight"), of_head, &memory.context_key);
  Add(Tensor(layer, "mac_context_v.weight"), of_head, &memory.context_value);
  Add(Tensor(layer, "mac_memory_q.weight"), of_head, &memory.inner_query);
  Add(Tensor(layer, "mac_memory_k.weight"), of_head, &memory.inner_key);
  Add(Tensor(layer, "mac_memory_v.weight"), of_head, &memory.inner_value);
  memory.output_norm =
      FloatRow(Tensor(layer, "mem_output_norm.weight"), first, dim);
  memory.mix_norm = FloatRow(Tensor(layer, "attn_mix_norm.weight"), first, dim);
  memory.conv = {
      TransposedRows(Tensor(layer, "mem_q_conv.weight"), first, dim),
      TransposedRows(Tensor(layer, "mem_k_conv.weight"), first, dim),
      TransposedRows(Tensor(layer, "mem_v_conv.weight"), first, dim)};
}

void ShardPacker::PlanMlpTile(int64_t layer, int tile,
                              MlpTileWeights* weights) {
  const int64_t begin = tile * grid_.mlp_tile_width;
  const int64_t end = std::min(begin + grid_.mlp_tile_width, hyper_.ffn_dim);
  weights->width = end - begin;
  const MatrixPart rows = {begin, end, 0, hyper_.model_dim};
  Add(Tensor(layer, "ffn_gate.weight"), rows, &weights->gate);
  Add(Tensor(layer, "ffn_up.weight"), rows, &weights->up);
  Add(Tensor(layer, "ffn_down.weight"), {0, hyper_.model_dim, begin, end},
      &weights->down);
}

void ShardPacker::PlanVocabTile(int index, VocabTileWeights* tile) {
  const TensorView* output = model_.FindTensor(
      hyper_.tied_embeddings ? "token_embd.weight" : "output.weight");
  const int64_t begin = index * grid_.vocab_tile_width;
  const int64_t end =
      std::min(begin + grid_.vocab_tile_width, hyper_.vocab_size);
  tile->index = index;
  Add(output, {begin, end, 0, hyper_.model_dim}, &tile->rows);
}

void ShardPacker::Plan(ShardWeights* weights) {
  const int64_t model_dim = hyper_.model_dim;
  weights->layers.resize(shard_.layers.size());
  for (int64_t l = 0; l < grid_.num_layers; ++l) {
    LayerWeights& layer = weights->layers[l];
    const Shard::Layer& held = shard_.layers[l];
    layer.attention_norm =
        FloatRow(Tensor(l, "attn_norm.weight"), 0, model_dim);
    layer.mlp_norm = FloatRow(Tensor(l, "ffn_norm.weight"), 0, model_dim);
    layer.memory_norm = FloatRow(Tensor(l, "mem_norm.weight"), 0, model_dim);
    const int64_t num_gates = 3 * hyper_.num_heads;
    Add(Tensor(l, "mem_gate.weight"), {0, num_gates, 0, model_dim},
        &layer.memory_gate);
    layer.memory_gate_bias = FloatRow(Tensor(l, "mem_gate.bias"), 0, num_gates);
    if (hyper_.qk_norm) {
      layer.query_norm =
          FloatRow(Tensor(l, "attn_q_norm.weight"), 0, hyper_.head_dim);
      layer.key_norm =
          FloatRow(Tensor(l, "attn_k_norm.weight"), 0, hyper_.head_dim);
    }
    layer.cuts = held.cuts;
    layer.units.resize(held.units.size());
    for (size_t i = 0; i < held.units.size(); ++i) {
      PlanUnit(l, held.units[i], &layer.units[i]);
    }
    layer.mlp_tiles.resize(held.mlp_tiles.size());
    for (size_t i = 0; i < held.mlp_tiles.size(); ++i) {
      PlanMlpTile(l, held.mlp_tiles[i], &layer.mlp_tiles[i]);
    }
  }
  weights->output_norm =
      FloatRow(model_.FindTensor("output_norm.weight"), 0, model_dim);
  weights->vocab_tiles.resize(shard_.vocab_tiles.size());
  for (size_t i = 0; i < shard_.vocab_tiles.size(); ++i) {
    PlanVocabTile(shard_.vocab_tiles[i], &weights->vocab_tiles[i]);
  }
}

}  // namespace

absl::StatusOr<int64_t> PackedShardBytes(const Model& model,
                                         const Shard& shard) {
  ShardPacker packer(model, shard);
  HEADWISE_RETURN_IF_ERROR(packer.Validate());
  ShardWeights weights;
  packer.Plan(&weights);
  return packer.bytes();
}

absl::StatusOr<ShardWeights> PackShard(
    const Model& model, const Shard& shard, ThreadTeam& team,
    const std::function<bool(double)>& progress) {
  ShardPacker packer(model, shard);
  HEADWISE_RETURN_IF_ERROR(packer.Validate());
  ShardWeights weights;
  packer.Plan(&weights);
  const std::vector<PackJob>& jobs = packer.jobs();
  weights.bytes = packer.bytes();
  weights.memory = HugeMemory(weights.bytes);
  std::atomic<size_t> next{0};
  std::atomic<bool> is_wanted{true};
  absl::Mutex mutex;
  absl::Status first_error;
  team.Run([&](int member) {
    for (size_t i = next.fetch_add(1); i < jobs.size() && is_wanted;
         i = next.fetch_add(1)) {
      absl::StatusOr<PackedMatrix> packed =
          PackedMatrix::Pack(*jobs[i].tensor, jobs[i].part,
                             weights.memory.data() + jobs[i].offset);
      if (!packed.ok()) {
        absl::MutexLock lock(&mutex);
        first_error.Update(packed.status());
        return;
      }
      *jobs[i].destination = *std::move(packed);
      if (member == 0 && progress) {
        is_wanted =
            progress(static_cast<double>(i) / static_cast<double>(jobs.size()));
      }
    }
  });
  HEADWISE_RETURN_IF_ERROR(first_error);
  if (!is_wanted || (progress && !progress(1.0))) {
    return absl::CancelledError("the shard is not wanted any more");
  }
  return weights;
}

}  // namespace headwise
