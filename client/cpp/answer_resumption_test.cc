#include "client/cpp/answer_resumption.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;

v1::GenerateResponse Token(int32_t token, uint32_t numerics) {
  v1::GenerateResponse event;
  event.mutable_generated()->add_tokens()->set_token(token);
  event.set_numerics(numerics);
  return event;
}

TEST(AnswerSoFarTest, TheNextAttemptSaysWhatHasComeAndUnderWhichNumerics) {
  v1::GenerateRequest rest;
  AnswerSoFar answer(&rest);
  EXPECT_TRUE(answer.Take(Token(5, 3)));
  EXPECT_TRUE(answer.Take(Token(6, 3)));
  EXPECT_THAT(rest.received().ids(), ElementsAre(5, 6));
  EXPECT_EQ(rest.numerics(), 3u);
  EXPECT_EQ(answer.num_tokens(), 2);
}

TEST(AnswerSoFarTest, NothingIsSaidForAServerThatSaysNothing) {
  v1::ChatRequest rest;
  AnswerSoFar answer(&rest);
  EXPECT_TRUE(answer.Take(Token(5, 0)));
  EXPECT_EQ(rest.numerics(), 0u);
}

TEST(AnswerSoFarTest, TextWithoutTokensIsHeardOnce) {
  v1::GenerateRequest rest;
  AnswerSoFar answer(&rest);
  v1::GenerateResponse text;
  text.mutable_generated()->set_text("EN");
  EXPECT_TRUE(answer.Take(text));
  EXPECT_FALSE(answer.Take(text));
}

}  // namespace
}  // namespace headwise
