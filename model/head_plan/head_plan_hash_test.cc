#include "model/head_plan/head_plan_hash.h"

#include <functional>
#include <set>

#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

// The value was computed from the header's words by another program. Caches on
// disk and on other machines are keyed by it: a change of this value
// needs a new first line of the form.
TEST(HeadPlanHashTest, IsThatOfTheDocumentedForm) {
  EXPECT_EQ(HeadPlanHash(EveryFieldPlan()),
            "a3c753a5315fa63c179d2f513c5cc188115c82d5a2ebd57c4a1a93c056b8b09e");
}

TEST(HeadPlanHashTest, ALandmarkTokenIsPartOfTheForm) {
  HeadPlan plan = LandmarkPlan();
  const std::string hash = HeadPlanHash(plan);
  plan.landmark_token = 8;
  EXPECT_NE(HeadPlanHash(plan), hash);
  plan.landmark_token = -1;
  EXPECT_NE(HeadPlanHash(plan), hash);
}

TEST(HeadPlanHashTest, DependsOnEveryFieldButTheOrigin) {
  using Edit = std::function<void(HeadPlan&)>;
  const std::vector<Edit> edits = {
      [](HeadPlan& p) { p.model_sha256[0] = 'b'; },
      [](HeadPlan& p) { p.num_layers = 5; },
      [](HeadPlan& p) { p.num_heads = 5; },
      [](HeadPlan& p) { p.num_kv_heads = 5; },
      [](HeadPlan& p) { p.units[0].kind = PolicyKind::kRazor; },
      [](HeadPlan& p) { p.units[0].kv_type = PlanKvType::kInt8; },
      [](HeadPlan& p) { p.units[0].num_sinks = 5; },
      [](HeadPlan& p) { p.units[0].window = 5; },
      [](HeadPlan& p) { p.units[0].slot_positions = true; },
      [](HeadPlan& p) { p.units[0].count_weight = false; },
      [](HeadPlan& p) { p.units[0].full_prompt = false; },
      [](HeadPlan& p) { p.units[0].window_divisor = 5; },
      [](HeadPlan& p) { p.units[0].chunk_len = 5; },
      [](HeadPlan& p) { p.units[0].num_chunks = 5; },
      [](HeadPlan& p) { p.units[0].per_query_head = true; },
      [](HeadPlan& p) { p.units[1].window = 5; },
      [](HeadPlan& p) { p.heads[0].mask = HeadMask::kZero; },
      [](HeadPlan& p) { p.heads[0].output_scale = 0.5f; },
      [](HeadPlan& p) { p.heads[0].sink_beta = 0.5f; },
      [](HeadPlan& p) { p.heads[0].sink_threshold = 0.5f; },
      [](HeadPlan& p) { p.heads[1].sink_threshold = 0.5f; }};
  const HeadPlan plan = FullPlan(2, 2, 1);
  std::set<std::string> hashes = {HeadPlanHash(plan)};
  for (const Edit& edit : edits) {
    HeadPlan edited = plan;
    edit(edited);
    hashes.insert(HeadPlanHash(edited));
  }
  EXPECT_EQ(hashes.size(), edits.size() + 1);

  HeadPlan renamed = plan;
  renamed.origin = "by hand";
  EXPECT_EQ(HeadPlanHash(renamed), HeadPlanHash(plan));
}

}  // namespace
}  // namespace headwise
