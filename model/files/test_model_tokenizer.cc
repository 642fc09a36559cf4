#include "model/files/test_model_tokenizer.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"

namespace headwise {

const char kTinyChatTemplate[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

namespace {

// UTF-8 of a code point below 0x800.
std::string Utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's printable stand-in for each byte (bytes_to_unicode of its
// encoder.py).
std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> alphabet(256);
  int num_moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 33 && byte <= 126) ||
                              (byte >= 161 && byte <= 172) || byte >= 174;
    alphabet[byte] = Utf8(is_printable ? byte : 256 + num_moved++);
  }
  return alphabet;
}

void Add(const std::string& token, TokenType type, TinyVocabulary& vocabulary) {
  vocabulary.tokens.push_back(token);
  vocabulary.types.push_back(type);
}

// Merges in order of rank, each making a new token: frequent English ones, then
// pairs of letters. `space` is the token of a space.
std::vector<std::pair<std::string, std::string>> Merges(
    const std::string& space) {
  std::vector<std::pair<std::string, std::string>> merges = {
      {space, "t"}, {"h", "e"},   {space, "a"},        {"i", "n"},
      {"e", "r"},   {"o", "n"},   {space + "t", "he"}, {"l", "l"},
      {"a", "n"},   {"in", "g"},  {space + "a", "n"},  {"an", "d"},
      {"he", "ll"}, {"hell", "o"}};
  std::set<std::string> made;
  for (const auto& [left, right] : merges) made.insert(left + right);
  for (char left = 'a'; left <= 'z'; ++left) {
    for (char right = 'a'; right <= 'z'; ++right) {
      std::pair<std::string, std::string> merge = {std::string(1, left),
                                                   std::string(1, right)};
      if (made.insert(merge.first + merge.second).second) {
        merges.push_back(std::move(merge));
      }
    }
  }
  return merges;
}

// Every split of `piece` into two known pieces: SentencePiece joins any of
// them.
void AppendSplits(const std::string& piece, const std::set<std::string>& known,
                  TinyVocabulary& vocabulary) {
  for (size_t cut = 1; cut < piece.size(); ++cut) {
    const std::string left = piece.substr(0, cut);
    const std::string right = piece.substr(cut);
    if (known.count(left) > 0 && known.count(right) > 0) {
      vocabulary.merges.emplace_back(left, right);
    }
  }
}

void AddMerges(const std::string& space, int64_t vocab_size,
               TinyVocabulary& vocabulary) {
  const bool is_sentence_piece =
      vocabulary.kind == TokenizerKind::kSentencePiece;
  std::vector<std::string> pieces;
  std::set<std::string> known;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.types[id] == TokenType::kNormal) {
      known.insert(vocabulary.tokens[id]);
    }
  }
  for (const auto& merge : Merges(space)) {
    if (static_cast<int64_t>(vocabulary.tokens.size()) == vocab_size) break;
    pieces.push_back(merge.first + merge.second);
    known.insert(pieces.back());
    Add(pieces.back(), TokenType::kNormal, vocabulary);
    if (!is_sentence_piece) vocabulary.merges.push_back(merge);
  }
  if (!is_sentence_piece) return;
  vocabulary.scores.resize(vocabulary.tokens.size() - pieces.size(), -1e6f);
  for (size_t rank = 0; rank < pieces.size(); ++rank) {
    vocabulary.scores.push_back(-static_cast<float>(rank));
    AppendSplits(pieces[rank], known, vocabulary);
  }
}

}  // namespace

TinyVocabulary MakeTinyVocabulary(const TinyModelOptions& options) {
  TinyVocabulary vocabulary;
  vocabulary.kind = options.tokenizer;
  std::string space = "\xc4\xa0";  // the stand-in for a space
  if (options.tokenizer == TokenizerKind::kSentencePiece) {
    space = "\xe2\x96\x81";  // U+2581
    Add("<unk>", TokenType::kUnknown, vocabulary);
    for (const char* token : {"<s>", "</s>", "<|im_start|>", "<|im_end|>"}) {
      Add(token, TokenType::kControl, vocabulary);
    }
    for (int byte = 0; byte < 256; ++byte) {
      Add(absl::StrFormat("<0x%02X>", byte), TokenType::kByte, vocabulary);
    }
    Add(space, TokenType::kNormal, vocabulary);
    for (char letter = 'a'; letter <= 'z'; ++letter) {
      Add(std::string(1, letter), TokenType::kNormal, vocabulary);
    }
    vocabulary.bos_id = 1;
    vocabulary.eos_id = 2;
  } else {
    for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
      Add(token, TokenType::kControl, vocabulary);
    }
    for (const std::string& token : ByteAlphabet()) {
      Add(token, TokenType::kNormal, vocabulary);
    }
    vocabulary.bos_id = 1;
    vocabulary.eos_id = 2;
  }
  HEADWISE_CHECK(static_cast<int64_t>(vocabulary.tokens.size()) <=
                 options.vocab_size);
  AddMerges(space, options.vocab_size, vocabulary);
  while (static_cast<int64_t>(vocabulary.tokens.size()) < options.vocab_size) {
    if (!vocabulary.scores.empty()) vocabulary.scores.push_back(-1e6f);
    Add(absl::StrCat("[PAD", vocabulary.tokens.size(), "]"), TokenType::kUnused,
        vocabulary);
  }
  return vocabulary;
}

}  // namespace headwise
