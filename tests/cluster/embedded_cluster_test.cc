// Coordinator and workers in one process, with the real model.

#include "client/cli/embedded_cluster.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"
#include "server/dispatch/model_shape.h"
#include "tests/support/model_path.h"
#include "worker/executor/executor.h"

namespace headwise {
namespace {

constexpr size_t kNewTokens = 6;

class Tokens final : public RequestSink {
 public:
  bool OnToken(const SliceResult& outcome) override {
    tokens.push_back(outcome.token);
    return true;
  }
  void OnRows(int64_t, const SliceResult& outcome) override {
    probes = outcome.probes;
  }
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    result = status;
    done.Notify();
  }

  std::vector<int32_t> tokens;
  std::vector<HeadProbe> probes;
  absl::Status result;
  absl::Notification done;
};

absl::StatusOr<std::vector<int32_t>> Generate(EmbeddedCluster& cluster) {
  auto sink = std::make_shared<Tokens>();
  EngineRequest request;
  request.request_id = "test";
  request.prompt = {504, 3575, 282, 4649, 314};  // "The capital of France is"
  request.max_new_tokens = kNewTokens;
  const auto id = cluster.engine().Submit(request, sink);
  if (!id.ok()) return id.status();
  sink->done.WaitForNotification();
  if (!sink->result.ok()) return sink->result;
  return sink->tokens;
}

class EmbeddedClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(access(ModelPath().c_str(), R_OK), 0)
        << "no model at " << ModelPath() << "; ./run.sh installs it";
  }

  static absl::StatusOr<std::unique_ptr<EmbeddedCluster>> Make(
      int num_workers, GroupChoice group) {
    EmbeddedClusterOptions options;
    options.model_path = ModelPath();
    options.num_workers = num_workers;
    options.threads = 1;
    options.group = group;
    options.kv_capacity_bytes = 64 << 20;
    return EmbeddedCluster::Create(options);
  }
};

// 1, 2 and 7 workers for 3 KV heads, over each kind of group: one answer.
TEST_F(EmbeddedClusterTest, SameTokensOnAnyClusterOverAnyGroup) {
  std::vector<int32_t> expected;
  const std::pair<int, GroupChoice> clusters[] = {
      {1, GroupChoice::kInProcess},
      {2, GroupChoice::kSharedMemory},
      {2, GroupChoice::kGloo},
      {7, GroupChoice::kInProcess}};
  for (const auto& [num_workers, group] : clusters) {
    SCOPED_TRACE(testing::Message()
                 << num_workers << " workers, " << GroupChoiceName(group));
    auto cluster = Make(num_workers, group);
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    const auto tokens = Generate(**cluster);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(tokens->size(), kNewTokens);
    if (expected.empty()) expected = *tokens;
    EXPECT_EQ(*tokens, expected);
  }
}

TEST_F(EmbeddedClusterTest, SharesFollowTheSpeeds) {
  EmbeddedClusterOptions options;
  options.model_path = ModelPath();
  options.num_workers = 2;
  options.threads = 1;
  options.speeds = {1.0, 0.5};
  options.kv_capacity_bytes = 64 << 20;
  auto cluster = EmbeddedCluster::Create(options);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto group = (*cluster)->status().group;
  ASSERT_NE(group, nullptr);
  EXPECT_EQ(group->plan.ranks[0].num_units + group->plan.ranks[1].num_units,
            90);
  EXPECT_GT(group->plan.ranks[0].num_units, group->plan.ranks[1].num_units);
  // As many positions as the bytes allow, in whole blocks of 64.
  const int64_t bytes_per_position =
      90 * (*cluster)->shape().kv_bytes_per_unit_position;
  EXPECT_EQ(group->kv_capacity_tokens,
            (64 << 20) / bytes_per_position / 64 * 64);
}

TEST_F(EmbeddedClusterTest, KvIsFreedAfterARequest) {
  auto cluster = Make(2, GroupChoice::kInProcess);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  ASSERT_TRUE(Generate(**cluster).ok());
  EXPECT_THAT((*cluster)->engine().stats().kv_bytes_used, testing::Each(0));
}

// Under the plan that changes nothing, and with the attention of all heads.
TEST_F(EmbeddedClusterTest, AForkOfAHeldPrefixGoesOnWithTheSameTokens) {
  auto cluster = Make(2, GroupChoice::kInProcess);
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto expected = Generate(**cluster);
  ASSERT_TRUE(expected.ok()) << expected.status();
  Engine& engine = (*cluster)->engine();

  EngineRequest prefix;
  prefix.kind = WorkKind::kPrefix;
  prefix.prompt = {504, 3575, 282};
  auto held = std::make_shared<Tokens>();
  const auto id = engine.Submit(prefix, held);
  ASSERT_TRUE(id.ok()) << id.status();
  held->done.WaitForNotification();
  ASSERT_TRUE(held->result.ok()) << held->result;
  EXPECT_EQ(engine.stats().held, 1);

  EngineRequest fork;
  fork.prompt = {4649, 314};
  fork.max_new_tokens = kNewTokens;
  fork.fork_from = *id;
  fork.plan = std::make_shared<const HeadPlan>(FullPlan(30, 9, 3));
  fork.probe = {.argmax = true, .distance_sets = {{0, 1, 2, 3, 4}}};
  auto sink = std::make_shared<Tokens>();
  ASSERT_TRUE(engine.Submit(fork, sink).ok());
  engine.Release(*id);
  sink->done.WaitForNotification();
  ASSERT_TRUE(sink->result.ok()) << sink->result;
  EXPECT_EQ(sink->tokens, *expected);
  ASSERT_EQ(sink->probes.size(), 30u * 9u);
  // Row 1 is at position 4: distances 0 to 4 are all that it sees.
  for (const HeadProbe& probe : sink->probes) {
    EXPECT_NEAR(probe.distance_probs.at(1), 1.0f, 1e-3f);
  }
}

TEST_F(EmbeddedClusterTest, ErrorsComeAtOnce) {
  EmbeddedClusterOptions options;
  options.model_path = "/nowhere.gguf";
  EXPECT_EQ(EmbeddedCluster::Create(options).status().code(),
            absl::StatusCode::kNotFound);
  options.model_path = ModelPath();
  options.num_workers = 65;
  EXPECT_EQ(EmbeddedCluster::Create(options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.num_workers = 2;
  options.speeds = {1.0};
  EXPECT_EQ(EmbeddedCluster::Create(options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.speeds = {};
  options.kv_capacity_bytes = 1;
  EXPECT_EQ(EmbeddedCluster::Create(options).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace headwise
