#include "model/files/gguf_model.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "model/files/gguf_container.h"
#include "model/files/gguf_hyperparameters.h"
#include "model/files/gguf_tokenizer.h"
#include "model/files/gguf_values.h"
#include "model/files/required_tensors.h"

namespace headwise {

absl::StatusOr<ModelParts> ParseGgufModel(absl::Span<const uint8_t> bytes) {
  HEADWISE_ASSIGN_OR_RETURN(GgufContainer gguf, ParseGgufContainer(bytes));
  ModelParts parts;
  // The architecture first: it is what people want to hear about.
  const GgufValue* tokens = gguf.Find("tokenizer.ggml.tokens");
  HEADWISE_ASSIGN_OR_RETURN(
      parts.hyperparameters,
      ReadGgufHyperparameters(
          gguf, tokens == nullptr ? 0 : static_cast<int64_t>(tokens->count)));
  HEADWISE_ASSIGN_OR_RETURN(parts.tokenizer, ReadGgufTokenizer(gguf));
  HEADWISE_ASSIGN_OR_RETURN(const auto chat_template,
                            FindText(gguf, "tokenizer.chat_template"));
  parts.chat_template = std::string(chat_template.value_or(""));
  for (const auto& [key, value] : gguf.entries) {
    parts.metadata.emplace_back(absl::Utf8SafeCEscape(key),
                                GgufValueText(value));
  }
  parts.tensors = std::move(gguf.tensors);
  // Its content is now rope.frequency_divisors.
  parts.tensors.erase(std::remove_if(parts.tensors.begin(), parts.tensors.end(),
                                     [](const TensorView& tensor) {
                                       return tensor.name ==
                                              "rope_freqs.weight";
                                     }),
                      parts.tensors.end());
  HEADWISE_RETURN_IF_ERROR(CheckTensors(parts.hyperparameters, parts.tensors));
  return parts;
}

}  // namespace headwise
