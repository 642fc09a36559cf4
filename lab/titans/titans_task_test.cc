#include "lab/titans/titans_task.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

const std::string kText = "some text that fills; it is short, and goes round. ";

TEST(TitansTask, SamplesAreFunctionsOfTheirDraws) {
  Draws first(3, 4), second(3, 4), third(3, 5);
  const TitansBatch a = DrawRecallBatch(kText, 4, 128, 8, first);
  const TitansBatch b = DrawRecallBatch(kText, 4, 128, 8, second);
  const TitansBatch c = DrawRecallBatch(kText, 4, 128, 8, third);
  EXPECT_TRUE(torch::equal(a.tokens, b.tokens));
  EXPECT_TRUE(torch::equal(a.labelled, b.labelled));
  EXPECT_FALSE(torch::equal(a.tokens, c.tokens));
}

TEST(TitansTask, WhatIsLabelledIsAKeyThatStoodBeforeWithItsValue) {
  Draws draws(1, 2);
  for (const int64_t length : {64, 256}) {
    const TitansBatch batch = DrawRecallBatch(kText, 8, length, 8, draws);
    EXPECT_GT(batch.labelled.sum().item<int64_t>(), 8 * 6);
    for (int64_t row = 0; row < 8; ++row) {
      std::map<int64_t, int64_t> value_of;
      for (int64_t i = 0; i + 1 < length; ++i) {
        const auto token = batch.tokens[row][i].item<int64_t>();
        const bool is_key =
            token >= kFirstTitansKey && token < kFirstTitansValue;
        const bool is_labelled = batch.labelled[row][i].item<bool>();
        if (!is_key) {
          EXPECT_FALSE(is_labelled);
          continue;
        }
        const auto value = batch.tokens[row][i + 1].item<int64_t>();
        EXPECT_GE(value, kFirstTitansValue);
        EXPECT_LT(value, kTitansEnd);
        const auto [it, is_new] = value_of.emplace(token, value);
        EXPECT_EQ(it->second, value);
        EXPECT_EQ(is_labelled, !is_new);
      }
      EXPECT_LE(value_of.size(), 8u);
    }
  }
}

TEST(TitansTask, PairsHaveDifferentKeys) {
  Draws draws(0, 0);
  std::set<int64_t> keys;
  for (const Pair& pair : DrawPairs(kNumTitansKeys, draws)) {
    keys.insert(pair.key);
  }
  EXPECT_EQ(static_cast<int64_t>(keys.size()), kNumTitansKeys);
}

TEST(TitansTask, TextIsLabelledButForItsLastToken) {
  Draws draws(0, 1);
  const TitansBatch batch = DrawTextBatch(kText, 2, 64, draws);
  EXPECT_EQ(batch.labelled.sum().item<int64_t>(), 2 * 63);
  EXPECT_LT(batch.tokens.max().item<int64_t>(), kFirstTitansKey);
}

class TitansTextTest : public testing::Test {
 protected:
  TitansTextTest() { std::filesystem::create_directories(folder_); }
  ~TitansTextTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ =
      testing::TempDir() + "titans_text_" + std::to_string(getpid());
};

TEST_F(TitansTextTest, IsTheFolderFilesByNameTheLastTenthHeldOut) {
  std::ofstream(folder_ + "/b") << std::string(15000, 'b');
  std::ofstream(folder_ + "/a") << std::string(15000, 'a');
  const auto text = ReadTitansText(folder_);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->train, std::string(15000, 'a') + std::string(12000, 'b'));
  EXPECT_EQ(text->held_out, std::string(3000, 'b'));
}

TEST_F(TitansTextTest, RefusesNameThePathAndTheLimit) {
  std::ofstream(folder_ + "/a") << "little";
  EXPECT_THAT(std::string(ReadTitansText(folder_).status().message()),
              HasSubstr("6 bytes of text; the least are 20000"));
  EXPECT_EQ(ReadTitansText(folder_ + "/none").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace headwise
