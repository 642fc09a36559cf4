#include "client/cli/bench_needle_texts.h"

#include <algorithm>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

NeedleTask MakeTask(const NeedleTaskOptions& options) {
  absl::StatusOr<NeedleTask> task = MakeNeedleTask(ByteTokenizer(), options);
  EXPECT_TRUE(task.ok()) << task.status();
  return *std::move(task);
}

std::string PromptOf(const NeedleTask& task, const NeedleTest& test) {
  const int64_t cut = task.cuts[static_cast<size_t>(test.depth_index)];
  const ByteTokenizer tokenizer;
  return tokenizer.Decode({task.text.data(), static_cast<size_t>(cut)}, true) +
         tokenizer.Decode(task.Rest(test), true);
}

TEST(BenchNeedleTextsTest, PromptsHoldTheNeedleAndEndBeforeTheAnswer) {
  const NeedleTask task =
      MakeTask({.context_len = 700, .num_depths = 3, .num_seeds = 2});
  ASSERT_EQ(task.tests.size(), 6u);
  EXPECT_EQ(task.text[0], ByteTokenizer().bos_id());
  for (const NeedleTest& test : task.tests) {
    const std::string prompt = PromptOf(task, test);
    EXPECT_THAT(prompt, HasSubstr(" The pass key is " + test.answer +
                                  ". Remember it. " + test.answer +
                                  " is the pass key."));
    EXPECT_THAT(prompt,
                testing::EndsWith("\nQuestion: What is the pass key?\nAnswer: "
                                  "The pass key is "));
    EXPECT_EQ(test.answer.size(), 5u);
    // A sentence of the filler has at most 25 bytes.
    EXPECT_EQ(task.PromptLen(test), static_cast<int64_t>(prompt.size()) + 1);
    EXPECT_LE(task.PromptLen(test) + kTimedTokens, 700);
    EXPECT_GT(task.PromptLen(test) + kTimedTokens, 700 - 26);
  }
}

TEST(BenchNeedleTextsTest, NeedlesStandBetweenSentencesFromBeginToEnd) {
  const NeedleTask task =
      MakeTask({.context_len = 2000, .num_depths = 5, .num_seeds = 1});
  EXPECT_EQ(task.depths, (std::vector<double>{0, 0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(task.cuts.front(), 1) << "after bos";
  EXPECT_EQ(task.cuts.back(), static_cast<int64_t>(task.text.size()));
  for (size_t i = 0; i + 1 < task.cuts.size(); ++i) {
    const auto at = static_cast<size_t>(task.cuts[i]);
    EXPECT_EQ(task.text[at], ' ');
    if (i > 0) {
      EXPECT_EQ(task.text[at - 1], '.');
    }
    const double share = (static_cast<double>(at) - 1) /
                         (static_cast<double>(task.text.size()) - 1);
    EXPECT_NEAR(share, task.depths[i], 26.0 / 1700);
  }
  EXPECT_EQ(
      MakeTask({.context_len = 700, .num_depths = 1, .num_seeds = 1}).depths,
      std::vector<double>{0.5});
}

TEST(BenchNeedleTextsTest, EveryTestHasItsOwnKeyAndRunsAreRepeatable) {
  const NeedleTaskOptions options = {
      .context_len = 700, .num_depths = 10, .num_seeds = 3};
  const NeedleTask task = MakeTask(options);
  const NeedleTask again = MakeTask(options);
  std::set<std::string> answers;
  for (size_t i = 0; i < task.tests.size(); ++i) {
    answers.insert(task.tests[i].answer);
    EXPECT_EQ(task.tests[i].needle, again.tests[i].needle);
  }
  EXPECT_EQ(answers.size(), 30u);
  EXPECT_EQ(task.text, again.text);
}

TEST(BenchNeedleTextsTest, TextsOfUsersAreCycled) {
  const NeedleTask task = MakeTask({.kind = NeedleKind::kWord,
                                    .haystack = "One rose. Two roses!",
                                    .context_len = 500,
                                    .num_depths = 2,
                                    .num_seeds = 1});
  const std::string prompt = PromptOf(task, task.tests[0]);
  EXPECT_THAT(prompt, HasSubstr(" One rose. Two roses! One rose."));
  EXPECT_THAT(prompt, HasSubstr("The secret word is " + task.tests[0].answer));
  EXPECT_THAT(prompt, Not(HasSubstr("grass")));
}

std::string Refusal(const NeedleTaskOptions& options) {
  return std::string(
      MakeNeedleTask(ByteTokenizer(), options).status().message());
}

TEST(BenchNeedleTextsTest, RefusesWhatHasNoRoomOrNoSentence) {
  EXPECT_THAT(
      Refusal({.context_len = 200, .num_depths = 1, .num_seeds = 1}),
      StartsWith("context: 200 positions; needle, question and 32 new tokens "
                 "take "));
  EXPECT_THAT(Refusal({.haystack = " \n ",
                       .context_len = 700,
                       .num_depths = 1,
                       .num_seeds = 1}),
              StartsWith("haystack: "));
}

TEST(BenchNeedleTextsTest, AnswersEndAfterEightTokens) {
  const ByteTokenizer tokenizer;
  const std::vector<int32_t> generated(12, 'a');
  EXPECT_EQ(AnswerText(tokenizer, generated), "aaaaaaaa");
  EXPECT_EQ(AnswerText(tokenizer, {}), "");
}

}  // namespace
}  // namespace headwise
