// Any bytes must come back whole, and in pieces too.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/check.h"
#include "model/tokenizer/small_vocabulary.h"
#include "model/tokenizer/text_stream.h"
#include "model/tokenizer/tokenizer.h"

namespace headwise {
namespace {

struct Subject {
  TokenizerData data;
  std::unique_ptr<Tokenizer> tokenizer;
};

std::unique_ptr<Subject> MakeSubject(TokenizerData data) {
  auto subject = std::make_unique<Subject>();
  subject->data = std::move(data);
  auto tokenizer = Tokenizer::Create(subject->data);
  HEADWISE_CHECK(tokenizer.ok());
  subject->tokenizer = *std::move(tokenizer);
  return subject;
}

// Each byte-pair rule, then SentencePiece.
const std::vector<std::unique_ptr<Subject>>& Subjects() {
  static const auto* const subjects = [] {
    auto* made = new std::vector<std::unique_ptr<Subject>>;
    for (const PreTokenizer rule :
         {PreTokenizer::kGpt2, PreTokenizer::kSmollm, PreTokenizer::kLlamaBpe,
          PreTokenizer::kQwen2}) {
      made->push_back(MakeSubject(SmallBytePairData(rule, SmallMerges())));
    }
    made->push_back(MakeSubject(SmallSentencePieceData(SmallPieces(), true)));
    return made;
  }();
  return *subjects;
}

std::string Stream(const std::vector<std::string>& stop_strings,
                   const std::vector<std::string>& tokens) {
  auto stream = TextStream::Create(stop_strings);
  HEADWISE_CHECK(stream.ok());
  std::string text;
  for (const std::string& token : tokens) text += stream->Append(token);
  return text + stream->Finish();
}

void CheckText(const Subject& subject, bool parse_special,
               const std::string& text) {
  const Tokenizer& tokenizer = *subject.tokenizer;
  const std::vector<int32_t> ids =
      tokenizer.Encode(text, {.parse_special = parse_special});
  // SentencePiece writes a space as U+2581, which so comes back as a space.
  const bool lossy = subject.data.kind == TokenizerKind::kSentencePiece &&
                     absl::StrContains(text, "\xE2\x96\x81");
  HEADWISE_CHECK(lossy || tokenizer.Decode(ids, false) == text);

  // Where tokens begin and end must not matter to a stream.
  std::vector<std::string> tokens;
  std::string all;
  for (const int32_t id : ids) {
    tokens.push_back(tokenizer.TokenBytes(id));
    all += tokens.back();
  }
  const std::vector<std::string> stops = {"abc", "ab\n", "</s>", "é1", "aab"};
  HEADWISE_CHECK(Stream(stops, tokens) == Stream(stops, {all}));
}

}  // namespace
}  // namespace headwise

// Input: a byte that chooses the tokenizer and parse_special, then the text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto& subjects = headwise::Subjects();
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  headwise::CheckText(*subjects[(data[0] >> 1) % subjects.size()],
                      (data[0] & 1) != 0, text);
  return 0;
}
