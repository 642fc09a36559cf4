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
  void Add(const TensorView* tensor, MatrixPart part, PackedMatrix* to) {
    jobs_.push_back({tensor, part, to, bytes_});
    bytes_ += PackedMatrix::BytesOf(tensor->dtype, part);
  }
  void PlanUnit(int64_t layer, int kv_head, UnitWeights* unit);
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
  if (!hyper_.qkv_bias) return;
  unit->query_bias =
      FloatRow(Tensor(layer, "attn_q.bias"), kv_head * width, width);
  unit->key_bias = FloatRow(Tensor(layer, "attn_k.bias"), kv_head * dim, dim);
  unit->value_bias = FloatRow(Tensor(layer, "attn_v.bias"), kv_head * dim, dim);
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
