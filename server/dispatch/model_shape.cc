#include "server/dispatch/model_shape.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/work_grid.h"

namespace headwise {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t BytesOf(const Model& model, const std::string& name) {
  const TensorView* tensor = model.FindTensor(name);
  return tensor == nullptr ? 0 : static_cast<int64_t>(tensor->bytes.size());
}

}  // namespace

ModelShape MakeModelShape(const Model& model, KvType kv_type) {
  const Hyperparameters& hyper = model.hyperparameters();
  const WorkGrid grid = MakeWorkGrid(hyper);
  ModelShape shape;
  shape.num_layers = grid.num_layers;
  shape.num_units = grid.num_units;
  shape.num_mlp_tiles = grid.num_mlp_tiles;
  shape.num_vocab_tiles = grid.num_vocab_tiles;
  shape.heads_per_kv_head = hyper.heads_per_kv_head();
  shape.head_dim = hyper.head_dim;
  shape.model_dim = hyper.model_dim;
  shape.kv_bytes_per_unit_position =
      KvBytesPerPosition(kv_type, hyper.head_dim);
  int64_t attention_bytes = 0;
  int64_t mlp_bytes = 0;
  for (int64_t layer = 0; layer < grid.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("blk.", layer, ".");
    for (const char* name :
         {"attn_q", "attn_k", "attn_v", "attn_output", "mem_q", "mem_k",
          "mem_v", "mem_output", "mac_context_k", "mac_context_v",
          "mac_memory_q", "mac_memory_k", "mac_memory_v"}) {
      attention_bytes += BytesOf(model, absl::StrCat(prefix, name, ".weight"));
    }
    for (const char* name : {"ffn_gate", "ffn_up", "ffn_down"}) {
      mlp_bytes += BytesOf(model, absl::StrCat(prefix, name, ".weight"));
    }
  }
  shape.unit_weight_bytes =
      CeilDiv(attention_bytes, grid.num_layers * grid.num_units);
  shape.mlp_tile_weight_bytes =
      CeilDiv(mlp_bytes, grid.num_layers * grid.num_mlp_tiles);
  const std::string output =
      hyper.tied_embeddings ? "token_embd.weight" : "output.weight";
  shape.vocab_tile_weight_bytes =
      CeilDiv(BytesOf(model, output), grid.num_vocab_tiles);
  return shape;
}

}  // namespace headwise
