#include "model/tokenizer/special_token_matcher.h"

#include <string>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TokenizerData DataWith(std::vector<absl::string_view> tokens,
                       std::vector<TokenType> types) {
  TokenizerData data;
  data.tokens = std::move(tokens);
  data.types = std::move(types);
  return data;
}

constexpr TokenType kControl = TokenType::kControl;
constexpr TokenType kUser = TokenType::kUserDefined;

TEST(SpecialTokenMatcherTest, FindsTheLeftmostAndOfThoseTheLongest) {
  const TokenizerData data = DataWith({"<a", "<a>", "<a>>>", "a>>"},
                                      {kControl, kControl, kControl, kControl});
  const SpecialTokenMatcher matcher(data);
  int64_t num_steps = 0;
  auto match = matcher.Find("x<a>>y", 0, true, &num_steps);
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->begin, 1u);
  EXPECT_EQ(match->end, 4u);  // "<a>", though "a>>" is as long
  EXPECT_EQ(match->id, 1);
  match = matcher.Find("x<a>>y", 2, true, &num_steps);
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->id, 3);
  EXPECT_FALSE(matcher.Find("x<a>>y", 3, true, &num_steps).has_value());
}

TEST(SpecialTokenMatcherTest, ControlTokensOnlyIfAskedFor) {
  const TokenizerData data =
      DataWith({"<u", "<u>>", "<n>"}, {kUser, kControl, TokenType::kNormal});
  const SpecialTokenMatcher matcher(data);
  int64_t num_steps = 0;
  EXPECT_EQ(matcher.Find("<u>>", 0, true, &num_steps)->id, 1);
  EXPECT_EQ(matcher.Find("<u>>", 0, false, &num_steps)->id, 0);
  EXPECT_FALSE(matcher.Find("<n>", 0, true, &num_steps).has_value());
}

TEST(SpecialTokenMatcherTest, LeavesEmptyTokensOutAndPrefersTheLowerId) {
  const TokenizerData data =
      DataWith({"", "<d>", "<d>"}, {kControl, kControl, kUser});
  const SpecialTokenMatcher matcher(data);
  int64_t num_steps = 0;
  EXPECT_EQ(matcher.Find("a<d>", 0, true, &num_steps)->id, 1);
  EXPECT_FALSE(matcher.Find("abc", 0, true, &num_steps).has_value());
}

TEST(SpecialTokenMatcherTest, WorkIsBoundedByTheLongestToken) {
  const std::string token = std::string(50, 'a') + "b";
  const TokenizerData data = DataWith({token}, {kControl});
  const SpecialTokenMatcher matcher(data);
  const std::string text(10000, 'a');
  int64_t num_steps = 0;
  EXPECT_FALSE(matcher.Find(text, 0, true, &num_steps).has_value());
  EXPECT_LE(num_steps, static_cast<int64_t>(text.size() * (token.size() + 1)));
}

}  // namespace
}  // namespace headwise
