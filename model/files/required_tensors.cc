#include "model/files/required_tensors.h"

#include <functional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

using AddTensor =
    std::function<void(absl::string_view name, std::vector<int64_t> shape)>;

void AppendAttention(const Hyperparameters& hyper, const AddTensor& add) {
  const int64_t model_dim = hyper.model_dim;
  const int64_t query_rows = hyper.num_heads * hyper.head_dim;
  const int64_t key_rows = hyper.num_kv_heads * hyper.head_dim;
  add("attn_norm.weight", {model_dim});
  add("attn_q.weight", {query_rows, model_dim});
  add("attn_k.weight", {key_rows, model_dim});
  add("attn_v.weight", {key_rows, model_dim});
  add("attn_output.weight", {model_dim, query_rows});
  if (hyper.qkv_bias) {
    add("attn_q.bias", {query_rows});
    add("attn_k.bias", {key_rows});
    add("attn_v.bias", {key_rows});
  }
  if (hyper.qk_norm) {
    add("attn_q_norm.weight", {hyper.head_dim});
    add("attn_k_norm.weight", {hyper.head_dim});
  }
  const int64_t num_persistent =
      hyper.titans ? hyper.titans->num_persistent : 0;
  if (num_persistent == 0) return;
  for (const char* name : {"persistent_k", "persistent_v"}) {
    add(name, {hyper.num_heads, num_persistent, hyper.head_dim});
  }
}

// The memory of a titans model (docs/titans-models.md).
void AppendMemory(const Hyperparameters& hyper, const AddTensor& add) {
  const TitansHyperparameters& titans = *hyper.titans;
  const int64_t heads = hyper.num_heads;
  const int64_t dim = hyper.head_dim;
  const int64_t rows = heads * dim;
  if (!titans.is_mixed()) add("mem_norm.weight", {hyper.model_dim});
  add("mem_q.weight", {rows, hyper.model_dim});
  if (titans.variant == TitansVariant::kMac) {
    for (const char* name : {"mac_context_k", "mac_context_v", "mac_memory_q",
                             "mac_memory_k", "mac_memory_v"}) {
      add(absl::StrCat(name, ".weight"), {heads, dim, dim});
    }
  } else {
    add("mem_k.weight", {rows, hyper.model_dim});
    add("mem_v.weight", {rows, hyper.model_dim});
  }
  if (titans.conv_kernel > 1) {
    for (const char* name : {"mem_q_conv", "mem_k_conv", "mem_v_conv"}) {
      add(absl::StrCat(name, ".weight"), {rows, titans.conv_kernel});
    }
  }
  add("mem_gate.weight", {3 * heads, hyper.model_dim});
  add("mem_gate.bias", {3 * heads});
  add("mem_init", {heads, titans.memory.num_weights()});
  add("mem_output_norm.weight", {rows});
  if (titans.is_mixed()) {
    add("attn_mix_norm.weight", {rows});
  } else {
    add("mem_output.weight", {hyper.model_dim, rows});
  }
}

void AppendLayer(const Hyperparameters& hyper, int64_t layer,
                 std::vector<RequiredTensor>& tensors) {
  const auto add = [&](absl::string_view name, std::vector<int64_t> shape) {
    tensors.push_back(
        {absl::StrCat("blk.", layer, ".", name), std::move(shape)});
  };
  if (!hyper.titans || hyper.titans->has_attention()) {
    AppendAttention(hyper, add);
  }
  if (hyper.titans && hyper.titans->has_memory()) AppendMemory(hyper, add);
  add("ffn_norm.weight", {hyper.model_dim});
  add("ffn_gate.weight", {hyper.ffn_dim, hyper.model_dim});
  add("ffn_up.weight", {hyper.ffn_dim, hyper.model_dim});
  add("ffn_down.weight", {hyper.model_dim, hyper.ffn_dim});
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status CheckTensor(const RequiredTensor& required,
                         const TensorView& tensor) {
  if (tensor.shape != required.shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", Quoted(tensor.name), " has shape ", ShapeText(tensor.shape),
        "; the hyperparameters want ", ShapeText(required.shape)));
  }
  if (tensor.shape.size() == 1 && InfoOf(tensor.dtype).block_len > 1) {
    return absl::UnimplementedError(
        absl::StrCat("tensor ", Quoted(tensor.name), ": a vector quantized to ",
                     InfoOf(tensor.dtype).name, "; we read F32, F16, BF16"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<RequiredTensor> RequiredTensors(const Hyperparameters& hyper) {
  std::vector<RequiredTensor> tensors;
  tensors.push_back({"token_embd.weight", {hyper.vocab_size, hyper.model_dim}});
  if (!hyper.tied_embeddings) {
    tensors.push_back({"output.weight", {hyper.vocab_size, hyper.model_dim}});
  }
  tensors.push_back({"output_norm.weight", {hyper.model_dim}});
  for (int64_t layer = 0; layer < hyper.num_layers; ++layer) {
    AppendLayer(hyper, layer, tensors);
  }
  return tensors;
}

absl::Status CheckTensors(const Hyperparameters& hyper,
                          const std::vector<TensorView>& tensors) {
  absl::flat_hash_map<absl::string_view, const TensorView*> unused;
  unused.reserve(tensors.size());
  for (const TensorView& tensor : tensors) {
    unused.emplace(tensor.name, &tensor);
  }
  for (const RequiredTensor& required : RequiredTensors(hyper)) {
    const auto it = unused.find(required.name);
    if (it == unused.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(required.name), " of shape ",
                       ShapeText(required.shape), " is missing"));
    }
    HEADWISE_RETURN_IF_ERROR(CheckTensor(required, *it->second));
    unused.erase(it);
  }
  for (const TensorView& tensor : tensors) {
    if (unused.contains(tensor.name)) {
      return absl::UnimplementedError(absl::StrCat(
          "tensor ", Quoted(tensor.name), " of shape ", ShapeText(tensor.shape),
          ": the architecture has no use for it, and leaving it out would give "
          "wrong numbers"));
    }
  }
  return absl::OkStatus();
}

}  // namespace headwise
