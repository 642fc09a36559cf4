// Texts made to be slow or large. Work is counted, not timed: twice the text
// may cost twice the steps and a constant, whatever the text is.

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/tokenizer/byte_pair_tokenizer.h"
#include "model/tokenizer/sentence_piece_tokenizer.h"
#include "model/tokenizer/small_vocabulary.h"

namespace headwise {
namespace {

constexpr int64_t kBombBytes = 10'000'000;
// For the long list of texts; still more than one word of the longest kind.
constexpr int64_t kSmallBombBytes = 1'500'000;

// Steps per byte. The scanner reads a byte four times at most and the special
// tokens' trie looks at six bytes from each place (the longest is "<<u>>"). n
// bytes have n pairs and n merges at most; a merge looks up and pushes two
// pairs: 3 n lookups and pushes, and for each pair pushed a pop and a lookup.
constexpr int64_t kMaxStepsPerByte = 4 + 6 + 2 * 3 + 2 * 3;

constexpr int64_t kStepsAtCut = 1000;

struct Bomb {
  std::string name;
  std::string unit;  // repeated
};

// So that gtest prints the name.
void PrintTo(const Bomb& bomb, std::ostream* out) { *out << bomb.name; }

std::string Repeat(const std::string& unit, int64_t num_bytes) {
  std::string text;
  text.reserve(num_bytes + unit.size());
  while (static_cast<int64_t>(text.size()) < num_bytes) text += unit;
  return text;
}

// Encodes half the bomb and the whole one, and compares the work.
void ExpectLinear(const TokenizerBase& tokenizer, const std::string& text) {
  const auto half = absl::string_view(text).substr(0, text.size() / 2);
  int64_t half_steps = 0;
  tokenizer.EncodeCounted(half, {}, &half_steps);
  int64_t steps = 0;
  const std::vector<int32_t> ids = tokenizer.EncodeCounted(text, {}, &steps);

  // One byte is one token at most; the space in front is one more.
  EXPECT_LE(ids.size(), text.size() + 1);
  EXPECT_TRUE(tokenizer.Decode(ids, /*skip_special=*/false) == text);
  EXPECT_LE(steps, kMaxStepsPerByte * static_cast<int64_t>(text.size()));
  // The text repeats itself, so only the words at the cut may differ.
  EXPECT_LE(steps, 2 * half_steps + kStepsAtCut);
}

void ExpectLinearBytePairs(PreTokenizer rule, const std::string& text) {
  const TokenizerData data = SmallBytePairData(rule, SmallMerges());
  const auto tokenizer = BytePairTokenizer::Create(data);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectLinear(**tokenizer, text);
}

void ExpectLinearSentencePieces(bool across_spaces, const std::string& text) {
  std::vector<std::string> pieces = SmallPieces();
  if (across_spaces) pieces.push_back("a▁b");
  const TokenizerData data = SmallSentencePieceData(pieces, true);
  const auto tokenizer = SentencePieceTokenizer::Create(data);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ExpectLinear(**tokenizer, text);
}

class TenMegabyteTest : public testing::TestWithParam<Bomb> {};

TEST_P(TenMegabyteTest, BytePairs) {
  ExpectLinearBytePairs(PreTokenizer::kSmollm,
                        Repeat(GetParam().unit, kBombBytes));
}

TEST_P(TenMegabyteTest, SentencePieces) {
  ExpectLinearSentencePieces(/*across_spaces=*/false,
                             Repeat(GetParam().unit, kBombBytes));
}

INSTANTIATE_TEST_SUITE_P(Case51, TenMegabyteTest,
                         testing::Values(Bomb{"WithoutSpaces", "a"},
                                         Bomb{"Spaces", " "},
                                         Bomb{"InvalidBytes", "\xFF"},
                                         Bomb{"SpecialTokens", "<s>"}),
                         [](const auto& info) { return info.param.name; });

class TokenizerBombTest : public testing::TestWithParam<Bomb> {};

TEST_P(TokenizerBombTest, BytePairsUnderEveryRule) {
  for (const PreTokenizer rule :
       {PreTokenizer::kGpt2, PreTokenizer::kSmollm, PreTokenizer::kLlamaBpe,
        PreTokenizer::kQwen2}) {
    ExpectLinearBytePairs(rule, Repeat(GetParam().unit, kSmallBombBytes));
  }
}

TEST_P(TokenizerBombTest, SentencePieces) {
  for (const bool across_spaces : {false, true}) {
    ExpectLinearSentencePieces(across_spaces,
                               Repeat(GetParam().unit, kSmallBombBytes));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Scanners, TokenizerBombTest,
    testing::Values(
        Bomb{"WithoutSpaces", "a"}, Bomb{"AlternatingLetters", "abcab"},
        Bomb{"Spaces", " "}, Bomb{"Newlines", "\n"},
        Bomb{"SpacesAndNewlines", " \n"}, Bomb{"SpacesBeforeDigits", "   1"},
        Bomb{"SpacesBeforeLetters", "  a"}, Bomb{"Digits", "1"},
        Bomb{"Apostrophes", "'"}, Bomb{"Contractions", "'s"},
        Bomb{"Symbols", "!"}, Bomb{"SymbolsAndNewlines", "!\n"},
        Bomb{"InvalidBytes", "\xFF"}, Bomb{"CutCharacters", "\xE2\x82"},
        Bomb{"FourBytes", "\U0001F642"}, Bomb{"SpecialTokens", "<s>"},
        Bomb{"NearlySpecialTokens", "<<u>"}, Bomb{"SpecialBeginnings", "<"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headwise
