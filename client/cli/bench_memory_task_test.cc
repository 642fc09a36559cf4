#include "client/cli/bench_memory_task.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr char kTask[] =
    R"({"kind": "recall", "text_ids": [1, 257], "key_ids": [257, 273],
        "value_ids": [273, 300], "trained_length": 256})";

TEST(BenchMemoryTaskTest, RangesOfTokensAreRead) {
  const RecallTask task = ParseRecallTask(kTask, 300).value();
  EXPECT_EQ(task.text.begin, 1);
  EXPECT_EQ(task.keys.begin, 257);
  EXPECT_EQ(task.keys.end, 273);
  EXPECT_EQ(task.values.size(), 27);
}

TEST(BenchMemoryTaskTest, BadTasksAreNamed) {
  const auto error_of = [](const std::string& json, int64_t vocab_size = 300) {
    return std::string(ParseRecallTask(json, vocab_size).status().message());
  };
  EXPECT_EQ(error_of("[1"), "not a JSON object");
  EXPECT_EQ(error_of("{}"), "kind: null; we have \"recall\"");
  EXPECT_THAT(error_of(R"({"kind": "recall"})"),
              HasSubstr("text_ids: missing"));
  EXPECT_THAT(error_of(kTask, 299),
              HasSubstr("value_ids: [273, 300) is not a range of the model's "
                        "299 ids"));
  EXPECT_THAT(error_of(R"({"kind": "recall", "text_ids": [0, 1.5]})"),
              HasSubstr("text_ids: [0,1.5]; expected"));
  EXPECT_THAT(error_of(R"({"kind": "recall", "text_ids": [4, 4]})"),
              HasSubstr("text_ids: [4, 4) is not"));
  EXPECT_EQ(error_of(R"({"kind": "recall", "text_ids": [0, 99],
                         "key_ids": [100, 101], "value_ids": [101, 102]})"),
            "text_ids: 99 ids; a byte has 256 values");
  EXPECT_THAT(std::string(ReadRecallTask("/no", 300).status().message()),
              HasSubstr("cannot read /no/task.json"));
}

class RecallTextTest : public testing::Test {
 protected:
  RecallText Make(const RecallTextOptions& options) {
    return MakeRecallText(task_, "abcde", options);
  }

  const RecallTask task_ = ParseRecallTask(kTask, 300).value();
};

TEST_F(RecallTextTest, PairsStandWhereTheyWereDealtAndTheRestIsText) {
  const RecallText text = Make(
      {.num_needles = 16, .context_len = 200, .depth = 0.25, .spread = 64});
  ASSERT_EQ(text.tokens.size(), 264u);
  ASSERT_EQ(text.pairs.size(), 16u);
  std::set<int32_t> keys;
  std::set<size_t> places;
  for (size_t i = 0; i < 16; ++i) {
    keys.insert(text.pairs[i].key);
    EXPECT_EQ(text.tokens[50 + 4 * i], text.pairs[i].key);
    EXPECT_EQ(text.tokens[51 + 4 * i], text.pairs[i].value);
    places.insert({50 + 4 * i, 51 + 4 * i});
  }
  EXPECT_EQ(keys.size(), 16u);
  for (size_t i = 0; i < text.tokens.size(); ++i) {
    if (places.count(i) > 0) continue;
    EXPECT_GE(text.tokens[i], 1 + 'a');
    EXPECT_LE(text.tokens[i], 1 + 'e');
    if (i > 0 && places.count(i - 1) == 0) {
      EXPECT_EQ((text.tokens[i] - text.tokens[i - 1] + 5) % 5, 1);
    }
  }
}

TEST_F(RecallTextTest, DepthOneEndsWithTheNeedlesAndSeedsDiffer) {
  RecallTextOptions options = {
      .num_needles = 2, .context_len = 100, .depth = 1, .spread = 4};
  const RecallText text = Make(options);
  EXPECT_EQ(text.tokens[103], text.pairs[1].value);
  EXPECT_EQ(Make(options).tokens, text.tokens);
  options.seed = 2;
  EXPECT_NE(Make(options).tokens, text.tokens);
}

}  // namespace
}  // namespace headwise
