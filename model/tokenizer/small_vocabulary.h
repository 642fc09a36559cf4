// Small vocabularies for tests, benches and fuzz targets.

#ifndef HEADWISE_MODEL_TOKENIZER_SMALL_VOCABULARY_H_
#define HEADWISE_MODEL_TOKENIZER_SMALL_VOCABULARY_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Moves `texts` into `data->storage` and lets `tokens` and `merges` view it.
inline void SetTexts(std::vector<std::string> tokens,
                     std::vector<std::string> merges, TokenizerData* data) {
  const size_t num_tokens = tokens.size();
  data->storage = std::move(tokens);
  data->storage.insert(data->storage.end(), merges.begin(), merges.end());
  for (size_t i = 0; i < data->storage.size(); ++i) {
    auto& list = i < num_tokens ? data->tokens : data->merges;
    list.push_back(data->storage[i]);
  }
}

// Ids 0..255 are the bytes; then what the merges make, in order; then the
// control tokens "<s>", "</s>", "</s>>" and the user-defined token "<<u>>".
// `merges` in the file's alphabet.
inline TokenizerData SmallBytePairData(PreTokenizer rule,
                                       std::vector<std::string> merges) {
  TokenizerData data;
  data.kind = TokenizerKind::kBytePairEncoding;
  data.pre_tokenizer = rule;
  data.whole_words_first = rule == PreTokenizer::kLlamaBpe;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back(ByteToAlphabet(static_cast<uint8_t>(byte)));
  }
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    tokens.push_back(merge.substr(0, space) + merge.substr(space + 1));
  }
  data.types.assign(tokens.size(), TokenType::kNormal);
  for (const char* text : {"<s>", "</s>", "</s>>"}) {
    tokens.emplace_back(text);
    data.types.push_back(TokenType::kControl);
  }
  data.bos_id = static_cast<int32_t>(tokens.size()) - 3;
  data.eos_id = data.bos_id + 1;
  tokens.emplace_back("<<u>>");
  data.types.push_back(TokenType::kUserDefined);
  SetTexts(std::move(tokens), std::move(merges), &data);
  return data;
}

// Merges that meet in words: "ab", "abc", "bc", "aa", "aaaa", " a", ...
inline std::vector<std::string> SmallMerges() {
  return {"a b",   "a a", "aa aa", "b c",    "ab c", "Ġ a", "Ġ Ġ",
          "ĠĠ ĠĠ", "c a", "b a",   "aaaa b", "bc a", "1 2", "Ċ Ċ",
          "Ã ©",   "ð Ł", "ðŁ Ļ",  "ÿ ÿ",    "Ġa b", "' s"};
}

// Id 0 is "<unk>", 1 and 2 are "<s>" and "</s>", 3 is the user-defined "<<u>>";
// then, if wanted, the 256 byte tokens; then `pieces`, best first.
inline TokenizerData SmallSentencePieceData(std::vector<std::string> pieces,
                                            bool byte_tokens) {
  TokenizerData data;
  data.kind = TokenizerKind::kSentencePiece;
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "<<u>>"};
  data.types = {TokenType::kUnknown, TokenType::kControl, TokenType::kControl,
                TokenType::kUserDefined};
  for (int byte = 0; byte < (byte_tokens ? 256 : 0); ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    tokens.emplace_back(text);
    data.types.push_back(TokenType::kByte);
  }
  data.scores.assign(tokens.size(), 0.0f);
  for (std::string& piece : pieces) {
    data.scores.push_back(-static_cast<float>(tokens.size()));
    data.types.push_back(TokenType::kNormal);
    tokens.push_back(std::move(piece));
  }
  data.unknown_id = 0;
  data.bos_id = 1;
  data.eos_id = 2;
  data.space_prefix = SpacePrefix::kEverySection;
  SetTexts(std::move(tokens), {}, &data);
  return data;
}

// Pieces that meet in words; "▁" is U+2581.
inline std::vector<std::string> SmallPieces() {
  return {"ab",  "▁a",   "aa", "▁▁", "abc", "bc", "▁▁▁▁",
          "▁ab", "aaaa", "é",  "a",  "b",   "c",  "▁"};
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_SMALL_VOCABULARY_H_
