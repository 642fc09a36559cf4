// Byte-level byte-pair encoding.

#ifndef HEADWISE_MODEL_TOKENIZER_BYTE_PAIR_TOKENIZER_H_
#define HEADWISE_MODEL_TOKENIZER_BYTE_PAIR_TOKENIZER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer_base.h"

namespace headwise {

// Sennrich et al., "Neural Machine Translation of Rare Words with Subword
// Units", arXiv:1508.07909, on bytes as in GPT-2. Text is put in form C if the
// file says so, cut into words by the file's rule, and each word's bytes are
// merged, lowest rank first.
//
// A byte that the vocabulary has no token for is left out before merging, as
// the reference tokenizers do (SmolLM2 lacks 21 bytes: six control characters
// and those that UTF-8 hardly or never uses). With all 256 bytes present and no
// normalization, Decode(Encode(x)) = x for any bytes x.
//
// With whole_words_first a word that is a token is that token, without merging
// ("ignore_merges" in Llama 3's tokenizer.json).
class BytePairTokenizer final : public TokenizerBase {
 public:
  // `data` must outlive the tokenizer. Checks as Tokenizer::Create.
  static absl::StatusOr<std::unique_ptr<BytePairTokenizer>> Create(
      const TokenizerData& data);

  std::string TokenBytes(int32_t id) const override;
  std::string Decode(absl::Span<const int32_t> ids,
                     bool skip_special) const override;

 private:
  explicit BytePairTokenizer(const TokenizerData& data);

  absl::Status AddMerges();
  void EncodePlain(absl::string_view text, Before before,
                   EncodeState* state) const override;
  void EncodeWord(absl::string_view word, EncodeState* state) const;
  // The token whose text is `word`, or -1.
  int32_t FindWord(absl::string_view word, std::string* buffer) const;

  static uint64_t PairKey(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
           static_cast<uint32_t>(right);
  }

  absl::flat_hash_map<absl::string_view, int32_t> ids_;  // by text in the file
  absl::flat_hash_map<uint64_t, PairMerger::Merge> merges_;  // by PairKey
  std::array<int32_t, 256> byte_ids_;                        // -1: no token
  size_t max_token_bytes_ = 0;  // in the file's alphabet
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_BYTE_PAIR_TOKENIZER_H_
