#include "worker/service/worker_node.h"

#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/collectives/in_process_group.h"
#include "worker/service/worker_node_fixture.h"
#include "worker/step/step_errors.h"

namespace headwise {
namespace {

using testing::HasSubstr;

TEST_F(WorkerNodeTest, PreparesJoinsAndRuns) {
  auto node = MakeNode();
  const auto prepared = Prepare(*node, Config(5));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->weight_bytes, 1000);
  EXPECT_EQ(prepared->kv_capacity_blocks, 40);
  EXPECT_EQ(node->ClaimSteps(5).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Run(*node, 5, OneRow(1)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Join(*node, 5, {prepared->endpoint}).ok());
  ASSERT_TRUE(node->ClaimSteps(5).ok());
  EXPECT_EQ(node->ClaimSteps(5).code(), absl::StatusCode::kFailedPrecondition)
      << "a group has one stream of steps";
  const auto result = Run(*node, 5, OneRow(1));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->results.size(), 1u);
  EXPECT_EQ(result->results[0].token, 7);
}

// Its engine had hung: now it may serve others, who need not wait for the end.
TEST_F(WorkerNodeTest, AJoinThatNobodyWaitsForIsNotBegun) {
  auto node = MakeNode();
  const auto prepared = Prepare(*node, Config(5));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  Reply<absl::Status> late;
  ASSERT_TRUE(
      node->Join(5, {prepared->endpoint}, late.Callback(), [] { return false; })
          .ok());
  EXPECT_EQ(late.Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Join(*node, 5, {prepared->endpoint}).ok());
}

TEST_F(WorkerNodeTest, OtherEpochsAreAborted) {
  auto node = MakeNode();
  Form(*node, 5);
  EXPECT_EQ(Run(*node, 4, OneRow(1)).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Run(*node, 6, OneRow(1)).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Prepare(*node, Config(4)).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Join(*node, 4, {"x"}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(node->ClaimSteps(4).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(Run(*node, 5, OneRow(1)).ok()) << "and the group lives on";
}

TEST_F(WorkerNodeTest, NewPrepareEndsAStepThatWaitsForAPeer) {
  auto node = MakeNode();
  auto peer = MakeNode();
  const auto a = Prepare(*node, Config(1, 0, 2));
  const auto b = Prepare(*peer, Config(1, 1, 2));
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_TRUE(Join(*node, 1, {a->endpoint, b->endpoint}).ok());
  ASSERT_TRUE(Join(*peer, 1, {a->endpoint, b->endpoint}).ok());
  Reply<absl::StatusOr<StepResult>> step;  // the peer never runs it
  ASSERT_TRUE(node->RunStep(1, OneRow(1), step.Callback()).ok());
  // Ends only if the collective of ten minutes was aborted.
  Form(*node, 2);
  EXPECT_TRUE(step.called());
  EXPECT_FALSE(step.Wait().ok());
  EXPECT_TRUE(Run(*node, 2, OneRow(1)).ok());
}

TEST_F(WorkerNodeTest, AbortGroupReachesThePeer) {
  auto node = MakeNode();
  auto peer = MakeNode();
  const auto a = Prepare(*node, Config(1, 0, 2));
  const auto b = Prepare(*peer, Config(1, 1, 2));
  ASSERT_TRUE(Join(*node, 1, {a->endpoint, b->endpoint}).ok());
  ASSERT_TRUE(Join(*peer, 1, {a->endpoint, b->endpoint}).ok());
  Reply<absl::StatusOr<StepResult>> step;
  ASSERT_TRUE(node->RunStep(1, OneRow(1), step.Callback()).ok());
  peer->AbortGroup(2, absl::UnavailableError("another epoch: no effect"));
  peer->AbortGroup(1, absl::UnavailableError("stream broke"));
  EXPECT_FALSE(step.Wait().ok());
  EXPECT_EQ(Run(*peer, 1, OneRow(1)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(peer->ClaimSteps(1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(WorkerNodeTest, TwoRanksSum) {
  auto node = MakeNode();
  auto peer = MakeNode();
  const auto a = Prepare(*node, Config(1, 0, 2));
  const auto b = Prepare(*peer, Config(1, 1, 2));
  ASSERT_TRUE(Join(*node, 1, {a->endpoint, b->endpoint}).ok());
  ASSERT_TRUE(Join(*peer, 1, {a->endpoint, b->endpoint}).ok());
  Reply<absl::StatusOr<StepResult>> step;
  ASSERT_TRUE(node->RunStep(1, OneRow(1), step.Callback()).ok());
  const auto other = Run(*peer, 1, OneRow(1));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->num_collectives, 2);
  EXPECT_EQ(step.Wait()->num_collectives, 2);
}

TEST_F(WorkerNodeTest, RefusalKeepsTheGroupAndAnErrorEndsIt) {
  std::vector<absl::Status> statuses = {absl::ResourceExhaustedError("blocks"),
                                        absl::OkStatus(),
                                        absl::InternalError("NaN in layer 1")};
  size_t next = 0;
  on_run_ = [&](const Step&) { return statuses[next++]; };
  auto node = MakeNode();
  Form(*node, 1);
  EXPECT_EQ(Run(*node, 1, OneRow(1)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Run(*node, 1, OneRow(2)).ok());
  EXPECT_EQ(Run(*node, 1, OneRow(3)).status().code(),
            absl::StatusCode::kInternal);
  const auto after = Run(*node, 1, OneRow(4));
  EXPECT_THAT(after.status().message(), HasSubstr("NaN in layer 1"));
  EXPECT_EQ(next, 3u) << "the executor must not run again";
}

TEST_F(WorkerNodeTest, TellsTheKvInUseAfterTheLastStepOfAGroup) {
  auto node = MakeNode();
  Form(*node, 1);
  EXPECT_EQ(node->kv_bytes_used(), 0);
  ASSERT_TRUE(Run(*node, 1, OneRow(1)).ok());
  EXPECT_EQ(node->kv_bytes_used(), 100);
  Form(*node, 2);
  EXPECT_EQ(node->kv_bytes_used(), 0);
}

TEST_F(WorkerNodeTest, StepsMustCountUpByOne) {
  auto node = MakeNode();
  Form(*node, 1);
  EXPECT_TRUE(Run(*node, 1, OneRow(10)).ok());
  EXPECT_EQ(Run(*node, 1, OneRow(12)).status().code(),
            absl::StatusCode::kInternal);
}

TEST_F(WorkerNodeTest, StepOutOfRangeIsRefusedBeforeTheExecutor) {
  on_run_ = [](const Step&) { return absl::InternalError("must not run"); };
  auto node = MakeNode();
  Form(*node, 1);
  Step step = OneRow(1);
  step.slices[0].tokens = {2000};
  EXPECT_EQ(Run(*node, 1, step).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WorkerNodeTest, QueueIsBoundedAndItsCallsAreAnsweredAtTheEnd) {
  absl::Notification running, release;
  on_run_ = [&](const Step&) {
    if (!running.HasBeenNotified()) running.Notify();
    release.WaitForNotification();
    return absl::OkStatus();
  };
  auto node = MakeNode();
  Form(*node, 1);
  std::vector<Reply<absl::StatusOr<StepResult>>> replies(
      WorkerNode::kMaxCommands + 1);
  ASSERT_TRUE(node->RunStep(1, OneRow(1), replies[0].Callback()).ok());
  running.WaitForNotification();
  for (size_t i = 1; i < replies.size(); ++i) {
    ASSERT_TRUE(node->RunStep(1, OneRow(1 + i), replies[i].Callback()).ok());
  }
  EXPECT_EQ(node->RunStep(1, OneRow(99), nullptr).code(),
            absl::StatusCode::kResourceExhausted);
  std::thread end([&] { node.reset(); });
  release.Notify();
  end.join();
  for (auto& reply : replies) EXPECT_TRUE(reply.called());
}

// Case 7: what its weights give is worth nothing once they have changed.
TEST_F(WorkerNodeTest, AStepWithChangedWeightsIsDataLossAndEndsTheGroup) {
  absl::Status weights;
  std::vector<int64_t> looked_at;
  WorkerNodeOptions options = Options();
  options.create_executor = [&](const Model&, Shard, const ExecutorOptions&,
                                const std::function<bool(double)>&)
      -> absl::StatusOr<std::unique_ptr<Executor>> {
    auto executor = std::make_unique<FakeExecutor>(on_run_);
    executor->check_weights = [&](int64_t max_bytes) {
      looked_at.push_back(max_bytes);
      return weights;
    };
    return executor;
  };
  WorkerNode node(options);
  Form(node, 1);
  EXPECT_TRUE(Run(node, 1, OneRow(1)).ok());
  EXPECT_LT(looked_at.back(), 10'000) << "a little with each step";
  on_run_ = [](const Step&) { return absl::OutOfRangeError("not finite"); };
  Form(node, 2);
  EXPECT_EQ(Run(node, 2, OneRow(1)).status().code(),
            absl::StatusCode::kOutOfRange)
      << "the model's own";
  EXPECT_GT(looked_at.back(), int64_t{1} << 60) << "all";
  weights = absl::DataLossError("weights have changed in memory");
  EXPECT_EQ(Run(node, 2, OneRow(2)).status(), weights);
  EXPECT_EQ(Run(node, 2, OneRow(3)).status(), weights) << "the group is dead";
}

// A coordinator reads who was late from what the groups say.
TEST(LateRanksTest, GroupsNameThem) {
  GroupOptions options;
  options.timeout = absl::Milliseconds(50);
  const auto groups = CreateInProcessGroups(3, 1, options);
  ASSERT_TRUE(groups.ok()) << groups.status();
  std::thread peer([&] {
    int64_t value = 1;
    (*groups)[2]->AllReduceSum(absl::Span<int64_t>(&value, 1)).IgnoreError();
  });
  int64_t value = 1;
  const absl::Status status =
      (*groups)[0]->AllReduceSum(absl::Span<int64_t>(&value, 1));
  peer.join();
  EXPECT_EQ(LateRanks(status), std::vector<int>{1}) << status;
}

}  // namespace
}  // namespace headwise
