#include "model/files/end_of_turn.h"

#include <algorithm>

namespace headwise {

namespace {

// ChatML, Llama 3, GPT-2 and Qwen, Phi-3, Gemma and old Llama fine-tunes.
constexpr absl::string_view kEndOfTurnTexts[] = {
    "<|im_end|>",    "<|eot_id|>", "<|eom_id|>",    "<|end_of_text|>",
    "<|endoftext|>", "<|end|>",    "<end_of_turn>", "<EOT>",
};

bool EndsTurn(absl::string_view text) {
  return std::find(std::begin(kEndOfTurnTexts), std::end(kEndOfTurnTexts),
                   text) != std::end(kEndOfTurnTexts);
}

}  // namespace

void FindEndOfTurnTokens(TokenizerData& data) {
  std::vector<int32_t>& ids = data.end_of_turn_ids;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const absl::string_view text = data.tokens[id];
    if (!text.empty() && text[0] == '<' && EndsTurn(text)) {
      ids.push_back(static_cast<int32_t>(id));
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  ids.erase(std::remove(ids.begin(), ids.end(), data.eos_id), ids.end());
}

}  // namespace headwise
