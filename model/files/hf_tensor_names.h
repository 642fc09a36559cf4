// Hugging Face's tensor names in GGUF's terms.

#ifndef HEADWISE_MODEL_FILES_HF_TENSOR_NAMES_H_
#define HEADWISE_MODEL_FILES_HF_TENSOR_NAMES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". Empty for
// a tensor that only caches what hyperparameters say (rotary_emb.inv_freq).
// Unimplemented for a name that our architectures do not have.
absl::StatusOr<std::string> GgufNameOf(absl::string_view hf_name);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_TENSOR_NAMES_H_
