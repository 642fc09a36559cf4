#include "server/calibration/needle_prompt.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/calibration/filler_text.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

class NeedlePromptTest : public testing::Test {
 protected:
  Haystack Drawn() const { return *Haystack::Create(tokenizer_, ""); }
  std::string Text(const std::vector<int32_t>& tokens) const {
    return tokenizer_.Decode(tokens, /*skip_special=*/true);
  }

  ByteTokenizer tokenizer_;
};

TEST_F(NeedlePromptTest, TheNeedleHoldsTheAnswerTokenByToken) {
  for (const double depth : {0.0, 0.3, 1.0}) {
    for (int64_t kind = 0; kind < kNumNeedleKinds; ++kind) {
      Draws draws(1, static_cast<uint64_t>(kind));
      const NeedlePrompt prompt =
          MakeNeedlePrompt(Drawn(), 1500, depth, kind, draws);
      ASSERT_EQ(prompt.needle.size(), prompt.answer.size());
      for (size_t i = 0; i < prompt.needle.size(); ++i) {
        EXPECT_EQ(prompt.prefix[static_cast<size_t>(prompt.needle[i])],
                  prompt.answer[i]);
      }
      EXPECT_THAT(Text(prompt.question), HasSubstr("Question: What"));
    }
  }
}

TEST_F(NeedlePromptTest, HasTheWantedLengthWithinASentence) {
  for (const int64_t length : {600, 1000, 3000}) {
    Draws draws(3, 0);
    const NeedlePrompt prompt =
        MakeNeedlePrompt(Drawn(), length, 0.5, 0, draws);
    EXPECT_LE(prompt.num_tokens(), length);
    EXPECT_GT(prompt.num_tokens(), length - 200);
    EXPECT_TRUE(CheckRoom(prompt, length).ok());
  }
}

TEST_F(NeedlePromptTest, TooShortALengthIsRefused) {
  Draws draws(3, 0);
  const NeedlePrompt prompt = MakeNeedlePrompt(Drawn(), 150, 0.5, 0, draws);
  EXPECT_THAT(std::string(CheckRoom(prompt, 150).message()),
              HasSubstr("150 tokens have no room"));
}

TEST_F(NeedlePromptTest, TheNeedleStandsAtItsDepthAndAfterASentence) {
  for (const double depth : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    Draws draws(5, 0);
    const NeedlePrompt prompt =
        MakeNeedlePrompt(Drawn(), 4000, depth, 0, draws);
    const auto size = static_cast<double>(prompt.prefix.size());
    EXPECT_NEAR(static_cast<double>(prompt.needle[0]) / size, depth, 0.06);
    const std::string before =
        Text(prompt.prefix)
            .substr(0, static_cast<size_t>(prompt.needle[0]) -
                           1);  // bos has no text
    EXPECT_THAT(before.substr(0, before.find(" The pass key")),
                testing::AnyOf(EndsWith("."), EndsWith(".\n\n")));
  }
}

TEST_F(NeedlePromptTest, TheSameDrawsGiveTheSamePrompt) {
  Draws a(9, 4), b(9, 4), c(9, 5);
  const NeedlePrompt first = MakeNeedlePrompt(Drawn(), 900, 0.5, 1, a);
  EXPECT_EQ(first.prefix, MakeNeedlePrompt(Drawn(), 900, 0.5, 1, b).prefix);
  EXPECT_NE(first.prefix, MakeNeedlePrompt(Drawn(), 900, 0.5, 1, c).prefix);
}

TEST_F(NeedlePromptTest, PassKeysAreAskedForInTheOrderOfTheText) {
  Draws draws(2, 0);
  const NeedlePrompt prompt = MakePassKeysPrompt(Drawn(), 3000, 3, 4, draws);
  const std::string answer = Text(prompt.answer);
  const std::string text = Text(prompt.prefix);
  size_t place = 0;
  for (size_t begin = 0; begin < answer.size();) {
    const size_t end = answer.find('.', begin) + 1;
    const size_t found = text.find(answer.substr(begin, end - begin));
    ASSERT_NE(found, std::string::npos);
    EXPECT_GE(found, place);
    place = found;
    begin = end;
  }
  EXPECT_GT(place, 0u);
  EXPECT_LE(prompt.num_tokens(), 3000);
}

TEST_F(NeedlePromptTest, AGivenTextIsCutIntoSentencesAndRepeated) {
  EXPECT_THAT(SplitSentences("One 1.5 two.  Three?\nfour\n\n \n"),
              ElementsAre("One 1.5 two.", "Three?", "four"));
  const Haystack haystack = *Haystack::Create(tokenizer_, "One. Two. Three.");
  Draws draws(0, 0);
  const auto taken = haystack.Take(40, draws);
  ASSERT_GE(taken.size(), 5u);
  EXPECT_EQ(taken[0], taken[3]);
  EXPECT_NE(taken[0], taken[1]);
  EXPECT_FALSE(Haystack::Create(tokenizer_, " \n ").ok());
}

TEST_F(NeedlePromptTest, LongPiecesAreCutWhereACharacterBegins) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "\u00e9";
  std::string joined;
  for (const std::string& piece : SplitSentences(text)) {
    EXPECT_LE(piece.size(), 400u);
    EXPECT_EQ(piece.size() % 2, 0u);
    joined += piece;
  }
  EXPECT_EQ(joined, text);
}

}  // namespace
}  // namespace headwise
