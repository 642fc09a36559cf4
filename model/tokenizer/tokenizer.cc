#include "model/tokenizer/tokenizer.h"

#include "model/tokenizer/byte_pair_tokenizer.h"
#include "model/tokenizer/sentence_piece_tokenizer.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(
    const TokenizerData& data) {
  switch (data.kind) {
    case TokenizerKind::kBytePairEncoding:
      return BytePairTokenizer::Create(data);
    case TokenizerKind::kSentencePiece:
      return SentencePieceTokenizer::Create(data);
  }
  return absl::InvalidArgumentError("tokenizer: unknown kind");
}

}  // namespace headwise
