#include "model/files/hf_tensor_names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

struct NamePair {
  absl::string_view hf;
  absl::string_view gguf;
};

constexpr NamePair kModelNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"lm_head.weight", "output.weight"},
    {"model.norm.weight", "output_norm.weight"},
};

// After "model.layers.N." and "blk.N.".
constexpr NamePair kLayerNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
};

// Of titans models: the same after "model.layers.N." and "blk.N.".
constexpr absl::string_view kTitansNames[] = {
    "mem_norm.weight",        "mem_q.weight",
    "mem_k.weight",           "mem_v.weight",
    "mem_q_conv.weight",      "mem_k_conv.weight",
    "mem_v_conv.weight",      "mem_gate.weight",
    "mem_gate.bias",          "mem_init",
    "mem_output_norm.weight", "mem_output.weight",
    "attn_mix_norm.weight",   "persistent_k",
    "persistent_v",           "mac_context_k.weight",
    "mac_context_v.weight",   "mac_memory_q.weight",
    "mac_memory_k.weight",    "mac_memory_v.weight",
};

// Takes "<digits>." from the front; empty if it is not there. A number with a
// leading zero stays another name than the one without.
absl::string_view ConsumeLayer(absl::string_view* name) {
  const size_t size =
      std::find_if_not(name->begin(), name->end(), absl::ascii_isdigit) -
      name->begin();
  if (size == 0 || size == name->size() || (*name)[size] != '.') return "";
  const absl::string_view layer = name->substr(0, size);
  name->remove_prefix(size + 1);
  return layer;
}

}  // namespace

absl::StatusOr<std::string> GgufNameOf(absl::string_view hf_name) {
  if (absl::EndsWith(hf_name, ".rotary_emb.inv_freq")) return std::string();
  for (const NamePair& pair : kModelNames) {
    if (hf_name == pair.hf) return std::string(pair.gguf);
  }
  absl::string_view rest = hf_name;
  if (absl::ConsumePrefix(&rest, "model.layers.")) {
    const absl::string_view layer = ConsumeLayer(&rest);
    for (const NamePair& pair : kLayerNames) {
      if (!layer.empty() && rest == pair.hf) {
        return absl::StrCat("blk.", layer, ".", pair.gguf);
      }
    }
    for (const absl::string_view name : kTitansNames) {
      if (!layer.empty() && rest == name) {
        return absl::StrCat("blk.", layer, ".", name);
      }
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("tensor ", Quoted(hf_name),
                   ": llama, qwen2, qwen3 and titans have no such tensor"));
}

}  // namespace headwise
