#include "model/tokenizer/tokenizer.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/tokenizer/small_vocabulary.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TokenizerData BytePairData() {
  return SmallBytePairData(PreTokenizer::kGpt2, SmallMerges());
}

TokenizerData SentencePieceData() {
  return SmallSentencePieceData(SmallPieces(), /*byte_tokens=*/true);
}

TEST(TokenizerTest, CreatesBothKindsAndKnowsTheirIds) {
  for (TokenizerData data : {BytePairData(), SentencePieceData()}) {
    data.end_of_turn_ids = {5};
    const auto tokenizer = Tokenizer::Create(data);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const auto size = static_cast<int32_t>(data.tokens.size());
    EXPECT_EQ((*tokenizer)->vocab_size(), size);
    EXPECT_EQ((*tokenizer)->bos_id(), data.bos_id);
    EXPECT_EQ((*tokenizer)->eos_id(), data.eos_id);
    for (int32_t id = -2; id < size + 2; ++id) {
      EXPECT_EQ((*tokenizer)->IsEndOfGeneration(id),
                id == data.eos_id || id == 5);
      const bool control = id >= 0 && id < size &&
                           (data.types[id] == TokenType::kControl ||
                            data.types[id] == TokenType::kUnknown);
      EXPECT_EQ((*tokenizer)->IsSpecial(id), control) << id;
    }
  }
}

TEST(TokenizerTest, NoEosIsNoEndOfGeneration) {
  TokenizerData data = BytePairData();
  data.eos_id = -1;
  const auto tokenizer = Tokenizer::Create(data);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_FALSE((*tokenizer)->IsEndOfGeneration(-1));
}

TEST(TokenizerTest, BosOnlyIfAskedForAndTheModelWantsIt) {
  for (const bool add_bos : {false, true}) {
    for (const bool add_special : {false, true}) {
      TokenizerData data = BytePairData();
      data.add_bos = add_bos;
      const auto tokenizer = Tokenizer::Create(data);
      ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
      const auto ids = (*tokenizer)->Encode("x", {.add_special = add_special});
      if (add_bos && add_special) {
        EXPECT_THAT(ids, ElementsAre(data.bos_id, 'x'));
      } else {
        EXPECT_THAT(ids, ElementsAre('x'));
      }
    }
  }
}

TEST(TokenizerTest, EmptyTextIsNoToken) {
  for (const TokenizerData& data : {BytePairData(), SentencePieceData()}) {
    const auto tokenizer = Tokenizer::Create(data);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_THAT((*tokenizer)->Encode("", {}), ElementsAre());
    EXPECT_EQ((*tokenizer)->Decode({}, false), "");
  }
}

TEST(TokenizerTest, ControlTokensInTextOnlyIfAskedFor) {
  const TokenizerData data = BytePairData();
  const auto tokenizer = Tokenizer::Create(data);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT((*tokenizer)->Encode("<s>", {.parse_special = true}),
              ElementsAre(data.bos_id));
  EXPECT_THAT((*tokenizer)->Encode("<s>", {.parse_special = false}),
              ElementsAre('<', 's', '>'));
  EXPECT_THAT((*tokenizer)->Encode("<<u>>", {.parse_special = false}),
              ElementsAre(data.bos_id + 3));
}

struct BadData {
  std::string name;
  std::function<void(TokenizerData*)> spoil;
  std::string message;
};

// Each message names the thing, the value and the limit.
// 4096 control tokens of 4096 bytes and one more: the matcher could not number
// the bytes of many such.
TEST(TokenizerTest, RefusesSpecialTokensThatAreTooLongTogether) {
  const std::string text(4097, 'x');
  TokenizerData data = BytePairData();
  for (int i = 0; i < 4096; ++i) {
    data.tokens.push_back(absl::string_view(text).substr(0, i == 0 ? 1 : 4096));
    data.types.push_back(TokenType::kControl);
  }
  EXPECT_TRUE(Tokenizer::Create(data).ok());
  data.tokens.push_back(text);
  data.types.push_back(TokenType::kControl);
  const auto tokenizer = Tokenizer::Create(data);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()),
              HasSubstr("bytes together; the limit is 16777216"));
}

TEST(TokenizerTest, RefusesDataThatContradictsItself) {
  const std::vector<BadData> cases = {
      {"types", [](auto* d) { d->types.pop_back(); }, "types for"},
      {"scores", [](auto* d) { d->scores.push_back(0); }, "scores for"},
      {"nan", [](auto* d) { d->scores[7] = std::nanf(""); },
       "score of token 7"},
      {"bos", [](auto* d) { d->bos_id = 1000000; }, "bos_id is 1000000"},
      {"eos", [](auto* d) { d->eos_id = -2; }, "eos_id is -2, must be in [-1,"},
      {"unknown", [](auto* d) { d->unknown_id = -7; }, "unknown_id is -7"},
      {"end of turn", [](auto* d) { d->end_of_turn_ids = {-1}; },
       "end_of_turn_id is -1, must be in [0,"},
      {"byte token", [](auto* d) { d->tokens[10] = "<0x0G>"; },
       "byte token 10 is \"<0x0G>\""},
      {"empty", [](auto* d) { d->tokens.clear(); }, "0 tokens"},
  };
  for (const BadData& bad : cases) {
    TokenizerData data = SentencePieceData();
    bad.spoil(&data);
    const auto tokenizer = Tokenizer::Create(data);
    ASSERT_FALSE(tokenizer.ok()) << bad.name;
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(tokenizer.status().message(), HasSubstr(bad.message));
  }
}

}  // namespace
}  // namespace headwise
