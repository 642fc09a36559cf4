// SentencePiece's byte-pair encoding by scores.

#ifndef HEADWISE_MODEL_TOKENIZER_SENTENCE_PIECE_TOKENIZER_H_
#define HEADWISE_MODEL_TOKENIZER_SENTENCE_PIECE_TOKENIZER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer_base.h"

namespace headwise {

// Kudo and Richardson, "SentencePiece", arXiv:1808.06226, its BPE model: a
// space becomes U+2581; two neighbours merge if their text is a token, highest
// score first, then leftmost. A character that is no token becomes its byte
// tokens <0xXX>; without those, unknown_id once; without that, nothing.
//
// space_prefix puts one space in front of sections of text; Decode takes one
// away at the same places. So Decode(Encode(x)) = x for any bytes x without
// U+2581, if the vocabulary has U+2581 and all byte tokens; but with the rules
// "without one" a section may lose the space that it began with.
//
// Two deviations. Unused tokens are emitted like normal ones (the library
// splits them again). If no token has U+2581 behind another character, which
// is how such models are trained by default, text is cut in front of spaces
// first: nothing could merge there, so the result is the same, in linear time.
class SentencePieceTokenizer final : public TokenizerBase {
 public:
  // `data` must outlive the tokenizer. Checks as Tokenizer::Create, and that a
  // byte token reads <0xXX>.
  static absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> Create(
      const TokenizerData& data);

  std::string TokenBytes(int32_t id) const override;
  std::string Decode(absl::Span<const int32_t> ids,
                     bool skip_special) const override;

 private:
  explicit SentencePieceTokenizer(const TokenizerData& data);

  absl::Status AddByteTokens();
  void AddMergeableTokens();
  void EncodePlain(absl::string_view text, Before before,
                   EncodeState* state) const override;
  // Whether text behind `before` may get a space.
  bool MayGetPrefix(Before before) const;
  // Appends to state->buffer, with U+2581 for spaces, the stretch of `text`
  // from `pos` that is merged at a time. Where it ends.
  size_t FillBuffer(absl::string_view text, size_t pos,
                    EncodeState* state) const;
  void EncodeBuffer(EncodeState* state) const;
  void AppendBytes(absl::string_view bytes, EncodeState* state) const;
  PairMerger::Merge Find(absl::string_view text) const;

  // Tokens that merging may make, with the rank of their score.
  absl::flat_hash_map<absl::string_view, PairMerger::Merge> mergeable_;
  size_t max_mergeable_bytes_ = 0;
  bool splits_at_space_ = true;  // no token has U+2581 behind another character
  std::array<int32_t, 256> byte_ids_;  // -1: no such token
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_SENTENCE_PIECE_TOKENIZER_H_
