#include "model/head_plan/landmarks.h"

#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Of LandmarkPlan: token 7 at the end of every 128 positions.
std::vector<int32_t> Prompt(int64_t first, int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = first; i < first + count; ++i) {
    tokens.push_back(i % 128 == 127 ? 7 : 1);
  }
  return tokens;
}

TEST(LandmarksTest, APlanHasOnePeriodOrNone) {
  EXPECT_EQ(LandmarkPeriod(LandmarkPlan()), 128);
  EXPECT_EQ(LandmarkPeriod(FullPlan(2, 4, 2)), 0);
}

TEST(LandmarksTest, PromptsThatHoldTheirLandmarksPass) {
  for (const int64_t first : {0, 1, 126, 127, 128, 1000}) {
    for (const int64_t count : {1, 2, 127, 128, 129, 500}) {
      EXPECT_EQ(CheckLandmarks(LandmarkPlan(), first, Prompt(first, count), 0),
                absl::OkStatus());
    }
  }
}

TEST(LandmarksTest, AnotherTokenAtALandmarksPlaceIsNamed) {
  std::vector<int32_t> prompt = Prompt(100, 200);
  prompt[155] = 9;
  const absl::Status status = CheckLandmarks(LandmarkPlan(), 100, prompt, 0);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(),
            "prompt: token 9 is at position 255, where the plan's landmark 7 "
            "belongs: one at the end of every 128 positions");
  HeadPlan unknown = LandmarkPlan();
  unknown.landmark_token = -1;
  EXPECT_EQ(CheckLandmarks(unknown, 100, prompt, 1 << 20), absl::OkStatus());
}

TEST(LandmarksTest, GeneratedTokensEndBeforeALandmarksPlace) {
  const HeadPlan plan = LandmarkPlan();
  EXPECT_EQ(CheckLandmarks(plan, 0, Prompt(0, 100), 27), absl::OkStatus());
  EXPECT_EQ(CheckLandmarks(plan, 0, Prompt(0, 100), 28).message(),
            "max_new_tokens: 28 would reach position 127, where the plan's "
            "landmark 7 belongs; at most 27 fit before it");
  EXPECT_EQ(CheckLandmarks(plan, 0, Prompt(0, 128), 127), absl::OkStatus());
  EXPECT_THAT(CheckLandmarks(plan, 0, Prompt(0, 127), 1).message(),
              HasSubstr("at most 0 fit before it"));
  EXPECT_THAT(CheckLandmarks(plan, 128, Prompt(128, 3),
                             std::numeric_limits<int64_t>::max())
                  .message(),
              HasSubstr("at most 124 fit before it"));
}

}  // namespace
}  // namespace headwise
