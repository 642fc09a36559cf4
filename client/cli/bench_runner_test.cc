#include "client/cli/bench_runner.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(BenchRunnerTest, MedianIsTheMiddle) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(Median({7}), 7);
}

TEST(BenchRunnerTest, PromptsAreInTheVocabularyAndRepeatable) {
  const std::vector<int32_t> prompt = BenchPrompt(1000, 50);
  EXPECT_EQ(prompt, BenchPrompt(1000, 50));
  EXPECT_NE(prompt[0], BenchPrompt(1001, 50)[0]);
  EXPECT_EQ(*std::min_element(prompt.begin(), prompt.end()), 0);
  EXPECT_EQ(*std::max_element(prompt.begin(), prompt.end()), 49);
}

TEST(BenchRunnerTest, PrefillCountsThePromptUpToTheFirstToken) {
  int calls = 0;
  const auto rate = PrefillRate(
      100, 2, 50, [&](const std::vector<int32_t>& prompt, int64_t num_tokens) {
        EXPECT_EQ(prompt.size(), 100u);
        EXPECT_EQ(num_tokens, 1);
        // The first run would be 100 times slower; it is not counted.
        const auto time = absl::Milliseconds(calls++ == 0 ? 5000 : 50);
        return GenerationTimes{time, absl::ZeroDuration(), 0};
      });
  EXPECT_EQ(*rate, 2000);
  EXPECT_EQ(calls, 3);
}

TEST(BenchRunnerTest, DecodeCountsTheTokensAfterTheFirst) {
  const auto rate = DecodeRate(
      0, 64, 3, 50,
      [&](const std::vector<int32_t>& prompt, int64_t num_tokens) {
        EXPECT_EQ(prompt.size(), 1u);
        EXPECT_EQ(num_tokens, 65);
        return GenerationTimes{absl::Seconds(9), absl::Milliseconds(320), 64};
      });
  EXPECT_EQ(*rate, 200);
}

TEST(BenchRunnerTest, ErrorsEndTheBench) {
  const auto fail = [](const std::vector<int32_t>&, int64_t) {
    return absl::StatusOr<GenerationTimes>(absl::UnavailableError("gone"));
  };
  EXPECT_EQ(PrefillRate(1, 1, 5, fail).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(DecodeRate(1, 1, 1, 5, fail).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace headwise
