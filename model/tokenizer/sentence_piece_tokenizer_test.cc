#include "model/tokenizer/sentence_piece_tokenizer.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer/small_vocabulary.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

using testing::ElementsAre;

std::unique_ptr<SentencePieceTokenizer> CreateOrDie(const TokenizerData& data) {
  auto tokenizer = SentencePieceTokenizer::Create(data);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::vector<std::string> Tokens(const TokenizerData& data,
                                const std::vector<int32_t>& ids) {
  std::vector<std::string> tokens;
  for (const int32_t id : ids) tokens.emplace_back(data.tokens[id]);
  return tokens;
}

std::vector<std::string> Encode(const TokenizerData& data,
                                absl::string_view text) {
  return Tokens(data, CreateOrDie(data)->Encode(text, {}));
}

// The textbook on the whole text at once: merge the pair whose text is the
// token of the highest score, leftmost first. Only for text whose characters
// are all tokens.
std::vector<std::string> TokensByTextbook(const TokenizerData& data,
                                          const std::string& text) {
  std::map<std::string, float> scores;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    if (data.types[i] != TokenType::kNormal) continue;
    scores[std::string(data.tokens[i])] = data.scores[i];
  }
  const std::string marked = "▁" + absl::StrReplaceAll(text, {{" ", "▁"}});
  std::vector<std::string> parts;
  for (size_t pos = 0; pos < marked.size(); pos += parts.back().size()) {
    parts.push_back(marked.substr(pos, DecodeUtf8(marked.substr(pos)).size));
  }
  while (true) {
    size_t best = parts.size();
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = scores.find(parts[i] + parts[i + 1]);
      if (found == scores.end()) continue;
      if (best == parts.size() ||
          found->second > scores[parts[best] + parts[best + 1]]) {
        best = i;
      }
    }
    if (best == parts.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + best + 1);
  }
}

void ExpectTextbook(std::vector<std::string> pieces, bool equal_scores) {
  TokenizerData data = SmallSentencePieceData(std::move(pieces), true);
  if (equal_scores) {
    for (float& score : data.scores)
      score = std::min(score, -1.0f) < 0 ? -1 : 0;
  }
  const auto tokenizer = CreateOrDie(data);
  constexpr absl::string_view kLetters = "aaabbc    ";
  constexpr unsigned kSeed = 20240611;
  std::mt19937 rng(kSeed);
  for (int round = 0; round < 10000; ++round) {
    std::string text;
    for (unsigned n = 1 + rng() % 20; n > 0; --n) {
      text.push_back(kLetters[rng() % kLetters.size()]);
    }
    ASSERT_EQ(Tokens(data, tokenizer->Encode(text, {})),
              TokensByTextbook(data, text))
        << "seed " << kSeed << " text \"" << text << '"';
  }
}

TEST(SentencePieceTokenizerTest, MergesAsTheTextbookDoes) {
  ExpectTextbook(SmallPieces(), /*equal_scores=*/false);
}

// Then position alone decides.
TEST(SentencePieceTokenizerTest, EqualScoresMergeFromTheLeft) {
  ExpectTextbook(SmallPieces(), /*equal_scores=*/true);
}

// Tokens that span a space forbid cutting the text there.
TEST(SentencePieceTokenizerTest, TokensAcrossSpacesMergeToo) {
  std::vector<std::string> pieces = SmallPieces();
  pieces.insert(pieces.begin(), {"a▁b", "a▁", "b▁▁"});
  ExpectTextbook(std::move(pieces), /*equal_scores=*/false);
}

TEST(SentencePieceTokenizerTest, UnknownCharactersFallBackToBytes) {
  TokenizerData data = SmallSentencePieceData(SmallPieces(), true);
  EXPECT_THAT(Encode(data, "aé日"),
              ElementsAre("▁a", "é", "<0xE6>", "<0x97>", "<0xA5>"));
  EXPECT_THAT(Encode(data, "a\xFF\xE2\x82"),
              ElementsAre("▁a", "<0xFF>", "<0xE2>", "<0x82>"));
  data = SmallSentencePieceData(SmallPieces(), /*byte_tokens=*/false);
  EXPECT_THAT(Encode(data, "a日b"), ElementsAre("▁a", "<unk>", "b"));
  data.unknown_id = -1;
  EXPECT_THAT(Encode(data, "a日b"), ElementsAre("▁a", "b"));
}

TEST(SentencePieceTokenizerTest, ByteAndControlTokensAreNotMadeByMerging) {
  // "<s>" and "<0x0A>" could come together from these.
  const TokenizerData data =
      SmallSentencePieceData({"<s", "<0", "x0", "x0A", "<0x0A", "▁"}, true);
  const auto tokenizer = CreateOrDie(data);
  EXPECT_THAT(Tokens(data, tokenizer->Encode("<s>", {.parse_special = false})),
              ElementsAre("▁", "<s", "<0x3E>"));
  EXPECT_THAT(Encode(data, "<0x0A>"), ElementsAre("▁", "<0x0A", "<0x3E>"));
}

TEST(SentencePieceTokenizerTest, SpaceGoesInFrontOfTextAndBehindControl) {
  TokenizerData data = SmallSentencePieceData(SmallPieces(), true);
  EXPECT_THAT(Encode(data, "a"), ElementsAre("▁a"));
  EXPECT_THAT(Encode(data, " a"), ElementsAre("▁", "▁a"));
  EXPECT_THAT(Encode(data, "a<s>a"), ElementsAre("▁a", "<s>", "▁a"));
  EXPECT_THAT(Encode(data, "a<<u>>a"), ElementsAre("▁a", "<<u>>", "a"));
  EXPECT_THAT(Encode(data, "<<u>>a"), ElementsAre("▁", "<<u>>", "a"));
  EXPECT_THAT(Encode(data, "<s>"), ElementsAre("<s>"));
  data.space_prefix = SpacePrefix::kNone;
  EXPECT_THAT(Encode(data, "a<s>a"), ElementsAre("a", "<s>", "a"));
  EXPECT_THAT(Encode(data, "<<u>>a"), ElementsAre("<<u>>", "a"));
}

// As tokenizers 0.23.3 encodes with Metaspace(prepend_scheme, split=False), the
// special token <s> and the added token <<u>>.
TEST(SentencePieceTokenizerTest, SpaceIsNotDoubledByMetaspace) {
  TokenizerData data =
      SmallSentencePieceData({"▁a", "▁▁", "a", "b", "▁"}, true);
  using Texts = std::vector<std::string>;
  const struct {
    std::string text;
    Texts always, first;
  } cases[] = {
      {"a", {"▁a"}, {"▁a"}},
      {" a", {"▁a"}, {"▁a"}},
      {"  a", {"▁", "▁a"}, {"▁", "▁a"}},
      {"▁a", {"▁a"}, {"▁a"}},
      {"", {}, {}},
      {" ", {"▁"}, {"▁"}},
      {"<s>", {"<s>"}, {"<s>"}},
      {"<s>a", {"<s>", "▁a"}, {"<s>", "a"}},
      {"<s> a", {"<s>", "▁a"}, {"<s>", "▁a"}},
      {"a<s>a", {"▁a", "<s>", "▁a"}, {"▁a", "<s>", "a"}},
      {"a<s>b<s>a",
       {"▁a", "<s>", "▁", "b", "<s>", "▁a"},
       {"▁a", "<s>", "b", "<s>", "a"}},
      {"<<u>>a", {"<<u>>", "▁a"}, {"<<u>>", "a"}},
      {"<s><<u>>a", {"<s>", "<<u>>", "▁a"}, {"<s>", "<<u>>", "a"}},
      {" <<u>>a", {"▁", "<<u>>", "▁a"}, {"▁", "<<u>>", "a"}},
      {"a<<u>> a", {"▁a", "<<u>>", "▁a"}, {"▁a", "<<u>>", "▁a"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    data.space_prefix = SpacePrefix::kEverySectionWithoutOne;
    EXPECT_EQ(Encode(data, c.text), c.always);
    data.space_prefix = SpacePrefix::kFirstWithoutOne;
    EXPECT_EQ(Encode(data, c.text), c.first);
  }
}

TEST(SentencePieceTokenizerTest, DecodeTakesMetaspacesSpaceAway) {
  TokenizerData data = SmallSentencePieceData(SmallPieces(), true);
  const auto decoded = [&](SpacePrefix prefix, const std::string& text,
                           bool add_bos) {
    data.space_prefix = prefix;
    data.add_bos = add_bos;
    const auto tokenizer = CreateOrDie(data);
    return tokenizer->Decode(tokenizer->Encode(text, {.add_special = true}),
                             false);
  };
  for (const std::string text :
       {"a", "ab c", "a<s>b", "a<<u>>b", "<s>a", "<<u>>a b"}) {
    for (const SpacePrefix prefix : {SpacePrefix::kEverySectionWithoutOne,
                                     SpacePrefix::kFirstWithoutOne}) {
      EXPECT_EQ(decoded(prefix, text, false), text);
    }
  }
  EXPECT_EQ(decoded(SpacePrefix::kFirstWithoutOne, "a", true), "<s>a");
  EXPECT_EQ(decoded(SpacePrefix::kFirstWithoutOne, "a<s> a", true),
            "<s>a<s> a");
}

TEST(SentencePieceTokenizerTest, AnyBytesComeBackWhole) {
  constexpr unsigned kSeed = 7;
  std::mt19937 rng(kSeed);
  const std::vector<std::string> atoms = {
      " ",  "  ",    "a",   "b",    "abc",  "é",    "日",
      "\n", "<<u>>", "<s>", "\xFF", "\xE2", "\x96", "<0x41>"};
  for (const SpacePrefix prefix :
       {SpacePrefix::kNone, SpacePrefix::kEverySection}) {
    TokenizerData data = SmallSentencePieceData(SmallPieces(), true);
    data.space_prefix = prefix;
    const auto tokenizer = CreateOrDie(data);
    for (int round = 0; round < 10000; ++round) {
      std::string text;
      for (unsigned n = rng() % 10; n > 0; --n) {
        text += atoms[rng() % atoms.size()];
      }
      ASSERT_EQ(tokenizer->Decode(tokenizer->Encode(text, {}), false), text)
          << "seed " << kSeed;
    }
  }
}

TEST(SentencePieceTokenizerTest, DecodesEachTypeOfToken) {
  TokenizerData data = SmallSentencePieceData(SmallPieces(), true);
  const auto tokenizer = CreateOrDie(data);
  const auto ids = tokenizer->Encode("ab<s> ab\n", {});
  EXPECT_EQ(tokenizer->Decode(ids, false), "ab<s> ab\n");
  EXPECT_EQ(tokenizer->Decode(ids, true), "ab ab\n");
  EXPECT_EQ(tokenizer->TokenBytes(4 + 0x41), "A");
  EXPECT_EQ(tokenizer->TokenBytes(4 + 256 + 1), " a");  // keeps its space
  EXPECT_EQ(tokenizer->TokenBytes(0), "<unk>");
  EXPECT_EQ(tokenizer->TokenBytes(3), "<<u>>");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
}

}  // namespace
}  // namespace headwise
