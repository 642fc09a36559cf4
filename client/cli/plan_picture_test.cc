#include "client/cli/plan_picture.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/policy_names.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(PlanPictureTest, ALetterForEachUnitAndHead) {
  HeadPlan plan = EveryFieldPlan();
  EXPECT_EQ(
      RenderPlan(plan, {}),
      "for model " + TestSha256() + "\nhash      " + HeadPlanHash(plan) +
          "\n4 layers, 6 heads in 3 KV heads\n"
          "origin: a test: \\\"every field\\\", café\n"
          "\n"
          "   layer  0\n"
          "kv head 0 SSSF\n"
          "kv head 1 SRQF\n"
          "kv head 2 RLOF\n"
          "\n"
          " S  3 of 12 units: streaming, 64 sinks, window 256\n"
          " F  2 of 12 units: full\n"
          " S  1 of 12 units: streaming, 0 sinks, window 1, slot positions, "
          "int8\n"
          " R  1 of 12 units: razor, 4 sinks, window 4000 or prompt / 5\n"
          " R  1 of 12 units: razor, 4096 sinks, window 1048576, slot of "
          "weight 1, drops in the prompt, fp32\n"
          " L  1 of 12 units: longheads, 16 chunks of 256 for each query head, "
          "bf16\n"
          " Q  1 of 12 units: quest, 256 chunks of 64, fp16\n"
          " O  1 of 12 units: landmark-oracle, 3 chunks of 4096\n"
          " F  1 of 12 units: full, int8\n"
          "\n"
          "layer  0\n"
          "head 0 U...\n"
          "head 1 .Z..\n"
          "head 2 .Z..\n"
          "head 3 .S..\n"
          "head 4 ....\n"
          "head 5 ...*\n"
          "\n"
          " U uniform mask, Z zero mask, S output scaled, A sinks calibrated, "
          "* several\n");
}

TEST(PlanPictureTest, LandmarksAreNamed) {
  const HeadPlan plan = LandmarkPlan();
  const std::string picture = RenderPlan(plan, {});
  EXPECT_THAT(picture, HasSubstr("landmarks are token 7\n"));
  EXPECT_THAT(picture, HasSubstr(" M  1 of 4 units: landmark, 5 chunks of 128"
                                 "\n"));
  HeadPlan after = plan;
  after.landmark_token = 9;
  EXPECT_EQ(RenderDiff(plan, *DiffHeadPlans(plan, after)),
            "landmark token: 7 -> 9\n0 of 4 units and 0 of 8 heads differ\n");
}

TEST(PlanPictureTest, HeadsAsTrainedNeedNoMap) {
  EXPECT_THAT(RenderPlan(FullPlan(2, 2, 1), {}), Not(HasSubstr("\nhead")));
}

TEST(PlanPictureTest, ColourStandsBesideTheLetters) {
  HeadPlan plan = FullPlan(2, 2, 1);
  plan.units[1] = {.kind = PolicyKind::kStreaming, .window = 9};
  std::string colored = RenderPlan(plan, {.color = true});
  EXPECT_THAT(colored, HasSubstr("\x1b[30;48;5;214mF\x1b[0m"));
  EXPECT_THAT(colored, HasSubstr("\x1b[30;48;5;117mS\x1b[0m"));
  size_t begin;
  while ((begin = colored.find('\x1b')) != std::string::npos) {
    colored.erase(begin, colored.find('m', begin) - begin + 1);
  }
  EXPECT_EQ(colored, RenderPlan(plan, {}));
}

TEST(PlanPictureTest, PoliciesHaveLettersAndColoursOfTheirOwn) {
  std::set<char> letters;
  std::set<int> colors;
  for (size_t i = 0; i < kPolicyNames.size(); ++i) {
    letters.insert(PolicyLetter(static_cast<PolicyKind>(i)));
    colors.insert(PolicyColor(static_cast<PolicyKind>(i)));
  }
  EXPECT_EQ(letters.size(), kPolicyNames.size());
  EXPECT_EQ(colors.size(), kPolicyNames.size());
}

TEST(PlanPictureTest, AnOriginCannotSteerTheTerminal) {
  HeadPlan plan = FullPlan(1, 1, 1);
  plan.origin = "\x1b[31mred\nline";
  EXPECT_THAT(RenderPlan(plan, {}), HasSubstr("origin: \\x1b[31mred\\nline\n"));
}

TEST(PlanPictureTest, ALongLegendIsCut) {
  HeadPlan plan = FullPlan(30, 1, 1);
  for (size_t i = 0; i < 30; ++i) {
    plan.units[i] = {.kind = PolicyKind::kStreaming,
                     .window = static_cast<int64_t>(i) + 1};
  }
  EXPECT_THAT(RenderPlan(plan, {}), HasSubstr("\n ... and 10 more policies\n"));
}

TEST(PlanPictureTest, ADiffNamesWhatWasAndWhatIs) {
  const HeadPlan before = FullPlan(2, 2, 2);
  HeadPlan after = before;
  after.units[3] = {.kind = PolicyKind::kStreaming, .window = 9};
  after.heads[1] = {.mask = HeadMask::kZero,
                    .output_scale = 0.5f,
                    .sink_beta = 0.25f,
                    .sink_threshold = 0.125f};
  EXPECT_EQ(RenderDiff(before, *DiffHeadPlans(before, after)),
            "layer 1 kv_head 1: full -> streaming, 0 sinks, window 9\n"
            "layer 0 head 1: as trained -> zero mask, scale 0.5, sinks above "
            "0.125 keep 0.25\n"
            "1 of 4 units and 1 of 4 heads differ\n");
  after.model_sha256[0] = 'b';
  EXPECT_THAT(RenderDiff(before, *DiffHeadPlans(before, after)),
              testing::StartsWith("the plans are for different models\n"));
}

}  // namespace
}  // namespace headwise
