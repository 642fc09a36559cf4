// Sequences that begin as others did.

#include <algorithm>

#include "gtest/gtest.h"
#include "worker/executor/executor_plan_fixture.h"

namespace headwise {
namespace {

TEST(ExecutorForkTest, ForkGoesOnAsItsOrigin) {
  const TinyModel model(ModelOptions());
  const std::shared_ptr<const HeadPlan> plan = MixedPlan();
  const std::vector<int32_t> tokens = SomeTokens(500);
  Cluster cluster(*model, 2, Options());
  const auto expected = Digests(cluster, tokens, {plan, 300, 512, false});
  Step prefix;
  prefix.slices.push_back(ScoreSlice(2, tokens, 0, 330));
  prefix.slices[0].plan_id = 7;
  prefix.slices[0].prompt_len = 300;
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step fork;
  fork.forks.push_back({3, 2, 330, 7, 300});
  fork.forks.push_back({4, 2, 330, 7, 300});
  fork.slices.push_back(ScoreSlice(3, tokens, 330, 500));
  fork.slices.push_back(ScoreSlice(2, SomeTokens(500, 9), 330, 470));
  fork.slices.push_back(ScoreSlice(4, tokens, 330, 400));
  const absl::StatusOr<StepResult> result = cluster.Run(fork);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<Sha256Digest>& mine = result->results[0].logits_digests;
  EXPECT_EQ(mine, std::vector(expected.begin() + 330, expected.end()));
  // What one sequence stores is not seen by another.
  Step later;
  later.slices.push_back(ScoreSlice(4, tokens, 400, 500));
  const absl::StatusOr<StepResult> rest = cluster.Run(later);
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_EQ(rest->results[0].logits_digests,
            std::vector(expected.begin() + 400, expected.end()));
}

// Keys of 64 chunks lie in a block: the source has two, the fork's own second
// one begins anew.
TEST(ExecutorForkTest, ShorterForkOfManyChunksForgetsTheLaterOnes) {
  const TinyModel model(ModelOptions());
  auto plan = FullPlan();
  for (UnitPolicy& unit : plan->units) {
    unit = Chunked(PolicyKind::kLongHeads, 64, 4);
  }
  const std::vector<int32_t> tokens = SomeTokens(4500);
  Cluster cluster(*model, 1, Options(2));
  const auto expected = Digests(cluster, tokens, {plan});
  Step prefix;
  std::vector<int32_t> other = SomeTokens(4500, 3);
  std::copy_n(tokens.begin(), 640, other.begin());
  prefix.slices.push_back(ScoreSlice(2, other, 0, 4500));
  prefix.slices[0].plan_id = 7;
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step fork;
  fork.forks.push_back({3, 2, 640, 7, 0});
  fork.slices.push_back(ScoreSlice(3, tokens, 640, 4500));
  const absl::StatusOr<StepResult> result = cluster.Run(fork);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->results[0].logits_digests,
            std::vector(expected.begin() + 640, expected.end()));
}

TEST(ExecutorForkTest, ForkMayChangeThePlan) {
  const TinyModel model(ModelOptions());
  auto masked = FullPlan();
  masked->heads[3].mask = HeadMask::kUniform;
  const std::vector<int32_t> tokens = SomeTokens(100);
  Cluster cluster(*model, 2, Options());
  Step prefix;
  prefix.plans.push_back({1, masked});
  prefix.slices.push_back(ScoreSlice(1, tokens, 0, 80));
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step forks;
  forks.forks.push_back({2, 1, 80, 1, 0});
  forks.forks.push_back({3, 1, 80, 0, 0});
  for (const uint64_t id : {1, 2, 3}) {
    forks.slices.push_back(ScoreSlice(id, tokens, 80, 100));
  }
  const absl::StatusOr<StepResult> result = cluster.Run(forks);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->results[0].logits_digests,
            result->results[2].logits_digests);
  EXPECT_NE(result->results[0].logits_digests,
            result->results[1].logits_digests);
}

}  // namespace
}  // namespace headwise
