#include "model/tokenizer/byte_pair_tokenizer.h"

#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer/small_vocabulary.h"
#include "model/tokenizer/word_scanner.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr PreTokenizer kAllRules[] = {
    PreTokenizer::kGpt2, PreTokenizer::kSmollm, PreTokenizer::kLlamaBpe,
    PreTokenizer::kQwen2};

std::unique_ptr<BytePairTokenizer> CreateOrDie(const TokenizerData& data) {
  auto tokenizer = BytePairTokenizer::Create(data);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// The textbook: while a pair can merge, merge the best and leftmost one.
std::vector<std::string> MergeByTextbook(
    std::vector<std::string> parts,
    const std::map<std::string, size_t>& ranks) {
  while (true) {
    size_t best_rank = std::numeric_limits<size_t>::max();
    size_t best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + " " + parts[i + 1]);
      if (found == ranks.end() || found->second >= best_rank) continue;
      best_rank = found->second;
      best = i;
    }
    if (best_rank == std::numeric_limits<size_t>::max()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + best + 1);
  }
}

std::vector<std::string> TokensByTextbook(const TokenizerData& data,
                                          const std::string& text) {
  std::map<std::string, size_t> ranks;
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    ranks[std::string(data.merges[rank])] = rank;
  }
  std::vector<std::string> tokens;
  WordScanner scanner(data.pre_tokenizer, text);
  absl::string_view word;
  while (scanner.Next(&word)) {
    std::vector<std::string> letters;
    for (const char c : word) {
      letters.emplace_back(ByteToAlphabet(static_cast<uint8_t>(c)));
    }
    for (auto& part : MergeByTextbook(letters, ranks)) tokens.push_back(part);
  }
  return tokens;
}

TEST(BytePairTokenizerTest, MergesAsTheTextbookDoes) {
  constexpr absl::string_view kLetters = "aaaabbc  \n12'sé";
  constexpr unsigned kSeed = 20240611;
  std::mt19937 rng(kSeed);
  const TokenizerData data =
      SmallBytePairData(PreTokenizer::kGpt2, SmallMerges());
  const auto tokenizer = CreateOrDie(data);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (unsigned n = rng() % 24; n > 0; --n) {
      text.push_back(kLetters[rng() % kLetters.size()]);
    }
    std::vector<std::string> tokens;
    for (const int32_t id : tokenizer->Encode(text, {})) {
      tokens.emplace_back(data.tokens[id]);
    }
    ASSERT_EQ(tokens, TokensByTextbook(data, text))
        << "seed " << kSeed << " text \"" << text << '"';
  }
}

// A merge of lower rank may become possible late: it goes first then.
TEST(BytePairTokenizerTest, RankDecidesEvenIfTheFileIsNotInTrainingOrder) {
  const TokenizerData data = SmallBytePairData(
      PreTokenizer::kGpt2, {"bc d", "b c", "a b", "d e", "a bcd"});
  const auto tokenizer = CreateOrDie(data);
  EXPECT_THAT(tokenizer->Encode("abcde", {}), ElementsAre(256 + 4, 'e'));
}

TEST(BytePairTokenizerTest, OfEqualMergesAndTokensTheFirstCounts) {
  const TokenizerData data =
      SmallBytePairData(PreTokenizer::kGpt2, {"a b", "b c", "a b"});
  EXPECT_THAT(CreateOrDie(data)->Encode("abc", {}), ElementsAre(256, 'c'));
}

TEST(BytePairTokenizerTest, AnyBytesComeBackWholeUnderEveryRule) {
  constexpr unsigned kSeed = 7;
  std::mt19937 rng(kSeed);
  for (const PreTokenizer rule : kAllRules) {
    const TokenizerData data = SmallBytePairData(rule, SmallMerges());
    const auto tokenizer = CreateOrDie(data);
    for (int round = 0; round < 5000; ++round) {
      std::string text;
      for (unsigned n = rng() % 40; n > 0; --n) {
        text.push_back(static_cast<char>(rng()));
      }
      const auto ids = tokenizer->Encode(text, {});
      ASSERT_EQ(tokenizer->Decode(ids, false), text) << "seed " << kSeed;
    }
  }
}

TEST(BytePairTokenizerTest, TakesAWholeWordWithoutMergingIfTheFileSaysSo) {
  // "abcd" is a token, but merging "bc" first never gets there.
  const std::vector<std::string> merges = {"b c", "a b", "c d", "ab cd"};
  for (const PreTokenizer rule : kAllRules) {
    TokenizerData data = SmallBytePairData(rule, merges);
    data.whole_words_first = true;
    EXPECT_THAT(CreateOrDie(data)->Encode("abcd", {}), ElementsAre(256 + 3));
    data.whole_words_first = false;
    EXPECT_THAT(CreateOrDie(data)->Encode("abcd", {}),
                ElementsAre('a', 256 + 0, 'd'));
  }
}

TEST(BytePairTokenizerTest, FormCOnlyIfTheFileSaysSo) {
  TokenizerData data = SmallBytePairData(PreTokenizer::kQwen2, {"Ã ©"});
  const std::string decomposed = "e\u0301";
  EXPECT_EQ(CreateOrDie(data)->Encode(decomposed, {}).size(), 3u);
  data.normalize_nfc = true;
  EXPECT_THAT(CreateOrDie(data)->Encode(decomposed, {}), ElementsAre(256));
}

TEST(BytePairTokenizerTest, AByteWithoutTokenIsLeftOutBeforeMerging) {
  TokenizerData data = SmallBytePairData(PreTokenizer::kGpt2, {"! ?"});
  data.tokens[0x04] = "nothing";
  EXPECT_THAT(CreateOrDie(data)->Encode("!\x04?", {}), ElementsAre(256));
}

TEST(BytePairTokenizerTest, AWordLongerThanTheLimitIsCutThere) {
  const TokenizerData data =
      SmallBytePairData(PreTokenizer::kGpt2, {"a a", "aa a"});
  const auto tokenizer = CreateOrDie(data);
  // One byte before the limit is left alone by the cut, not by the merges.
  const auto ids = tokenizer->Encode(std::string(kMaxWordBytes + 2, 'a'), {});
  ASSERT_EQ(ids.size(), static_cast<size_t>(kMaxWordBytes / 2 + 1));
  EXPECT_EQ(ids.back(), 256);
  EXPECT_EQ(ids[ids.size() - 2], 256);
}

TEST(BytePairTokenizerTest, DecodesSpecialTokensAsWritten) {
  const TokenizerData data = SmallBytePairData(PreTokenizer::kGpt2, {"Ġ a"});
  const auto tokenizer = CreateOrDie(data);
  const std::string text = "<s> a</s>>b<<u>>";
  const auto ids = tokenizer->Encode(text, {});
  EXPECT_THAT(ids, ElementsAre(257, 256, 259, 'b', 260));
  EXPECT_EQ(tokenizer->Decode(ids, false), text);
  EXPECT_EQ(tokenizer->Decode(ids, true), " ab<<u>>");
  EXPECT_EQ(tokenizer->TokenBytes(256), " a");
  EXPECT_EQ(tokenizer->TokenBytes(257), "<s>");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(261), "");
  EXPECT_EQ(tokenizer->Decode({-5, 'a', 1 << 30}, false), "a");
}

TEST(BytePairTokenizerTest, RefusesMergesThatNameNoToken) {
  for (const std::string bad : {"a zz", "zz a", "z y", "ab", "", "a "}) {
    TokenizerData data = SmallBytePairData(PreTokenizer::kGpt2, {"a b"});
    data.merges.push_back(bad);
    const auto tokenizer = BytePairTokenizer::Create(data);
    ASSERT_FALSE(tokenizer.ok()) << bad;
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(tokenizer.status().message(),
                HasSubstr("merge 1 \"" + bad + "\""));
  }
}

}  // namespace
}  // namespace headwise
