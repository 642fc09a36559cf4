#include "worker/executor/shard_weights.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/executor/float_rows.h"
#include "worker/executor/pack_jobs.h"

namespace headwise {
namespace {

template <typename Tile>
bool HaveOneIndex(const Tile& a, const Tile& b) {
  return a.index == b.index;
}

template <typename Piece>
void DropUnpacked(std::vector<Piece>* pieces) {
  std::erase_if(*pieces,
                [](const Piece& piece) { return piece.storage == nullptr; });
}

class ShardPacker {
 public:
  ShardPacker(const Model& model, const Shard& shard)
      : model_(model),
        shard_(shard),
        hyper_(model.hyperparameters()),
        grid_(MakeWorkGrid(hyper_)) {}

  absl::Status Validate() const;
  // Lays out `weights`, with what `held` has of it, and lists what is to be
  // packed into the rest.
  void Plan(const ShardWeights& held, ShardWeights* weights);
  const std::vector<PackJob>& jobs() const { return jobs_; }
  const std::vector<NewPiece>& pieces() const { return pieces_; }
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
  // `plan` adds the jobs of one piece.
  template <typename PlanJobs>
  void AddPiece(SharedStorage* storage, const PlanJobs& plan) {
    NewPiece piece = {storage, jobs_.size(), 0, bytes_, 0};
    plan();
    piece.last_job = jobs_.size();
    piece.bytes = bytes_ - piece.offset;
    if (piece.bytes > 0) pieces_.push_back(piece);
  }
  // The one of `held` that is the same, or a new one.
  template <typename Piece, typename IsSame, typename PlanJobs>
  void TakeOrAdd(const std::vector<Piece>& held, Piece* piece,
                 const IsSame& is_same, const PlanJobs& plan) {
    const auto found = std::find_if(
        held.begin(), held.end(),
        [&](const Piece& other) { return is_same(other, *piece); });
    if (found != held.end()) {
      *piece = *found;
    } else {
      AddPiece(&piece->storage, plan);
    }
  }
  void PlanLayer(const LayerWeights& held, int64_t layer,
                 LayerWeights* weights);
  void PlanShared(const LayerWeights& held, int64_t layer,
                  LayerWeights* weights);
  void PlanUnit(int64_t layer, UnitWeights* unit);
  void PlanMemory(int64_t layer, int head, UnitWeights* unit);
  void PlanMlpTile(int64_t layer, MlpTileWeights* weights);
  void PlanVocabTile(VocabTileWeights* tile);

  const Model& model_;
  const Shard& shard_;
  const Hyperparameters& hyper_;
  const WorkGrid grid_;
  std::vector<PackJob> jobs_;
  std::vector<NewPiece> pieces_;
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

void ShardPacker::PlanUnit(int64_t layer, UnitWeights* unit) {
  const int kv_head = unit->kv_head;
  const int64_t dim = hyper_.head_dim;
  const int64_t width = hyper_.heads_per_kv_head() * dim;
  const int64_t model_dim = hyper_.model_dim;
  const MatrixPart query = {kv_head * width, (kv_head + 1) * width, 0,
                            model_dim};
  const MatrixPart key = {kv_head * dim, (kv_head + 1) * dim, 0, model_dim};
  Add(Tensor(layer, "attn_q.weight"), query, &unit->query);
  Add(Tensor(layer, "attn_k.weight"), key, &unit->key);
  Add(Tensor(layer, "attn_v.weight"), key, &unit->value);
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

void ShardPacker::PlanMlpTile(int64_t layer, MlpTileWeights* weights) {
  const int64_t begin = weights->index * grid_.mlp_tile_width;
  const int64_t end = std::min(begin + grid_.mlp_tile_width, hyper_.ffn_dim);
  weights->width = end - begin;
  const MatrixPart rows = {begin, end, 0, hyper_.model_dim};
  Add(Tensor(layer, "ffn_gate.weight"), rows, &weights->gate);
  Add(Tensor(layer, "ffn_up.weight"), rows, &weights->up);
  Add(Tensor(layer, "ffn_down.weight"), {0, hyper_.model_dim, begin, end},
      &weights->down);
}

void ShardPacker::PlanVocabTile(VocabTileWeights* tile) {
  const TensorView* output = model_.FindTensor(
      hyper_.tied_embeddings ? "token_embd.weight" : "output.weight");
  const int64_t begin = tile->index * grid_.vocab_tile_width;
  const int64_t end =
      std::min(begin + grid_.vocab_tile_width, hyper_.vocab_size);
  Add(output, {begin, end, 0, hyper_.model_dim}, &tile->rows);
}

// What every rank has of a layer.
void ShardPacker::PlanShared(const LayerWeights& held, int64_t layer,
                             LayerWeights* weights) {
  const int64_t model_dim = hyper_.model_dim;
  const int64_t num_gates = 3 * hyper_.num_heads;
  weights->attention_norm =
      FloatRow(Tensor(layer, "attn_norm.weight"), 0, model_dim);
  weights->mlp_norm = FloatRow(Tensor(layer, "ffn_norm.weight"), 0, model_dim);
  weights->memory_norm =
      FloatRow(Tensor(layer, "mem_norm.weight"), 0, model_dim);
  weights->memory_gate_bias =
      FloatRow(Tensor(layer, "mem_gate.bias"), 0, num_gates);
  if (hyper_.qk_norm) {
    weights->query_norm =
        FloatRow(Tensor(layer, "attn_q_norm.weight"), 0, hyper_.head_dim);
    weights->key_norm =
        FloatRow(Tensor(layer, "attn_k_norm.weight"), 0, hyper_.head_dim);
  }
  if (held.storage != nullptr) {
    weights->memory_gate = held.memory_gate;
    weights->storage = held.storage;
    return;
  }
  AddPiece(&weights->storage, [&] {
    Add(Tensor(layer, "mem_gate.weight"), {0, num_gates, 0, model_dim},
        &weights->memory_gate);
  });
}

void ShardPacker::PlanLayer(const LayerWeights& held, int64_t layer,
                            LayerWeights* weights) {
  const Shard::Layer& wanted = shard_.layers[layer];
  PlanShared(held, layer, weights);
  weights->cuts = wanted.cuts;
  weights->units.resize(wanted.units.size());
  for (size_t i = 0; i < wanted.units.size(); ++i) {
    UnitWeights& unit = weights->units[i];
    unit.kv_head = wanted.units[i];
    int cut = -1;
    for (size_t c = 0; c < wanted.cuts.size(); ++c) {
      if (wanted.cuts[c].kv_head != unit.kv_head) continue;
      cut = static_cast<int>(c);
      unit.is_owner = wanted.cuts[c].owner == shard_.rank;
    }
    TakeOrAdd(
        held.units, &unit,
        [](const UnitWeights& a, const UnitWeights& b) {
          return a.kv_head == b.kv_head && a.is_owner == b.is_owner;
        },
        [&] { PlanUnit(layer, &unit); });
    unit.cut = cut;
  }
  weights->mlp_tiles.resize(wanted.mlp_tiles.size());
  for (size_t i = 0; i < wanted.mlp_tiles.size(); ++i) {
    MlpTileWeights& tile = weights->mlp_tiles[i];
    tile.index = wanted.mlp_tiles[i];
    TakeOrAdd(held.mlp_tiles, &tile, HaveOneIndex<MlpTileWeights>,
              [&] { PlanMlpTile(layer, &tile); });
  }
}

void ShardPacker::Plan(const ShardWeights& held, ShardWeights* weights) {
  weights->layers.resize(shard_.layers.size());
  for (int64_t l = 0; l < grid_.num_layers; ++l) {
    PlanLayer(held.layers.empty() ? LayerWeights() : held.layers[l], l,
              &weights->layers[l]);
  }
  weights->output_norm =
      FloatRow(model_.FindTensor("output_norm.weight"), 0, hyper_.model_dim);
  weights->vocab_tiles.resize(shard_.vocab_tiles.size());
  for (size_t i = 0; i < shard_.vocab_tiles.size(); ++i) {
    VocabTileWeights& tile = weights->vocab_tiles[i];
    tile.index = shard_.vocab_tiles[i];
    TakeOrAdd(held.vocab_tiles, &tile, HaveOneIndex<VocabTileWeights>,
              [&] { PlanVocabTile(&tile); });
  }
}

int64_t StorageBytes(const ShardWeights& weights) {
  int64_t bytes = 0;
  const auto add = [&bytes](const auto& piece) {
    if (piece.storage != nullptr) bytes += piece.storage->bytes();
  };
  for (const LayerWeights& layer : weights.layers) {
    add(layer);
    for (const UnitWeights& unit : layer.units) add(unit);
    for (const MlpTileWeights& tile : layer.mlp_tiles) add(tile);
  }
  for (const VocabTileWeights& tile : weights.vocab_tiles) add(tile);
  return bytes;
}

}  // namespace

absl::StatusOr<int64_t> PackedShardBytes(const Model& model,
                                         const Shard& shard) {
  ShardPacker packer(model, shard);
  HEADWISE_RETURN_IF_ERROR(packer.Validate());
  ShardWeights weights;
  packer.Plan({}, &weights);
  return packer.bytes();
}

absl::StatusOr<ShardWeights> PackShard(
    const Model& model, const Shard& shard, ThreadTeam& team,
    const std::function<bool(double)>& progress, ShardWeights* held) {
  ShardPacker packer(model, shard);
  HEADWISE_RETURN_IF_ERROR(packer.Validate());
  ShardWeights weights;
  packer.Plan(held == nullptr ? ShardWeights() : *held, &weights);
  if (held != nullptr) *held = {};  // what the shard has not goes
  const auto arena = std::make_shared<HugeMemory>(packer.bytes());
  std::vector<uint8_t> is_packed;
  const absl::Status status =
      RunPackJobs(packer.jobs(), arena->data(), team, progress, &is_packed);
  StorePieces(packer.pieces(), is_packed, arena, team);
  if (!status.ok()) {
    for (LayerWeights& layer : weights.layers) {
      DropUnpacked(&layer.units);
      DropUnpacked(&layer.mlp_tiles);
    }
    DropUnpacked(&weights.vocab_tiles);
    if (held != nullptr) *held = std::move(weights);
    return status;
  }
  weights.bytes = StorageBytes(weights);
  weights.loaded_bytes = packer.bytes();
  if (held != nullptr) *held = weights;
  return weights;
}

}  // namespace headwise
