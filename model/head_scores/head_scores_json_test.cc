#include "model/head_scores/head_scores_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

HeadScores Scores() {
  HeadScores scores;
  scores.model_sha256 = std::string(64, 'a');
  scores.method = "echo";
  scores.num_layers = 1;
  scores.num_heads = 2;
  scores.num_kv_heads = 1;
  scores.units = {1.0 / 3};
  scores.heads = {1.0 / 3, 1e-30};
  scores.details["echo"] = {0.25, 0.5};
  return scores;
}

TEST(HeadScoresJsonTest, IsReadBackToTheBit) {
  const std::string text = HeadScoresToJson(Scores()).dump();
  const auto read = ParseHeadScores("f", text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, Scores());
}

TEST(HeadScoresJsonTest, WhatIsMissingWrongOrUnknownIsNamed) {
  const auto error_of = [](const char* key, nlohmann::ordered_json value) {
    nlohmann::ordered_json json = HeadScoresToJson(Scores());
    json[key] = std::move(value);
    return std::string(
        ParseHeadScores("f.json", json.dump()).status().message());
  };
  EXPECT_THAT(error_of("headwise_scores", 2), HasSubstr("is 2, must be 1"));
  EXPECT_THAT(error_of("units", "x"), HasSubstr("units must be an array"));
  EXPECT_THAT(error_of("units", {"x"}), HasSubstr("units must hold numbers"));
  EXPECT_THAT(error_of("heads", {1}), HasSubstr("heads has 1 numbers"));
  EXPECT_THAT(error_of("num_layers", nullptr), HasSubstr("num_layers is miss"));
  EXPECT_THAT(error_of("colour", 1), HasSubstr("colour is not known"));
  EXPECT_THAT(error_of("details", 1), HasSubstr("details must be an object"));
  EXPECT_THAT(error_of("num_heads", int64_t{1} << 40), HasSubstr("num_heads"));
  EXPECT_FALSE(ParseHeadScores("f", "[1]").ok());
  EXPECT_FALSE(ParseHeadScores("f", "{").ok());
}

}  // namespace
}  // namespace headwise
