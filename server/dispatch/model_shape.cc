#include "server/dispatch/model_shape.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/work_grid.h"

namespace headwise {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t BytesOf(const Model& model, const std::string& name) {
  const TensorView* tensor = model.FindTensor(name);
  return tensor == nullptr ? 0 : static_cast<int64_t>(tensor->bytes.size());
}

}  // namespace

absl::StatusOr<int64_t> KvBytesOf(const std::string& kv_type,
                                  int64_t head_dim) {
  // A key and a value, head_dim elements each.
  if (kv_type == "fp32") return 2 * head_dim * 4;
  if (kv_type == "fp16" || kv_type == "bf16") return 2 * head_dim * 2;
  // One fp32 scale for the key and one for the value.
  if (kv_type == "int8") return 2 * (head_dim + 4);
  return absl::InvalidArgumentError(absl::StrCat(
      "kv type \"", kv_type, "\" is none of fp32, fp16, bf16, int8"));
}

absl::StatusOr<ModelShape> MakeModelShape(const Model& model,
                                          const std::string& kv_type) {
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
  HEADWISE_ASSIGN_OR_RETURN(shape.kv_bytes_per_unit_position,
                            KvBytesOf(kv_type, hyper.head_dim));
  int64_t attention_bytes = 0;
  int64_t mlp_bytes = 0;
  for (int64_t layer = 0; layer < grid.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("blk.", layer, ".");
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
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
