// Workers on twins of GPUs that form groups over NCCL, which is a fake that
// records its calls.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/backends/cuda/host_device.h"
#include "worker/collectives/fake_nccl.h"
#include "worker/executor/executor_fixture.h"
#include "worker/service/device_choice.h"
#include "worker/service/worker_node_fixture.h"

namespace headwise {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr int kWorldSize = 2;
constexpr int64_t kStagingBytes = 3 * 4096;

class NcclWorkersTest : public WorkerNodeTest {
 protected:
  NcclWorkersTest() {
    NewNccl({});
    for (int rank = 0; rank < kWorldSize; ++rank) {
      devices_.push_back(std::make_unique<cuda::HostDevice>(int64_t{2} << 30));
      WorkerNodeOptions options;
      options.open_model = [this](const std::string&) {
        return std::shared_ptr<const Model>(std::shared_ptr<void>(), &*model_);
      };
      options.open_nccl = [this, rank](int64_t) { return nccl().Open(rank); };
      options.join_timeout = absl::Seconds(1);
      EXPECT_TRUE(RunOnDevice(*devices_[rank], &options).ok());
      nodes_.push_back(std::make_unique<WorkerNode>(options));
    }
  }

  // For the groups to come; those that were keep theirs.
  void NewNccl(const FakeNccl::Plan& plan) {
    nccls_.push_back(
        std::make_unique<FakeNccl>(kWorldSize, kStagingBytes, plan));
  }
  FakeNccl& nccl() { return *nccls_.back(); }

  WorkerConfig TinyConfig(uint64_t epoch, int rank) {
    WorkerConfig config = Config(epoch, rank, kWorldSize);
    config.shard = ShardOf(*model_, rank, kWorldSize);
    config.kv_type = KvType::kFp32;
    config.group = GroupChoice::kNccl;
    config.group_timeout = group_timeout_;
    return config;
  }

  // As a coordinator: endpoints come from Prepare and go to all with Join.
  std::vector<absl::Status> Form(uint64_t epoch) {
    std::vector<std::string> endpoints;
    for (int rank = 0; rank < kWorldSize; ++rank) {
      const auto prepared = Prepare(*nodes_[rank], TinyConfig(epoch, rank));
      if (!prepared.ok()) return {prepared.status()};
      endpoints.push_back(prepared->endpoint);
    }
    std::vector<Reply<absl::Status>> replies(kWorldSize);
    for (int rank = 0; rank < kWorldSize; ++rank) {
      EXPECT_TRUE(
          nodes_[rank]->Join(epoch, endpoints, replies[rank].Callback()).ok());
    }
    return {replies[0].Wait(), replies[1].Wait()};
  }

  using Answer = absl::StatusOr<StepResult>;
  std::vector<Reply<Answer>> StartStep(uint64_t epoch, const Step& step) {
    std::vector<Reply<Answer>> replies(kWorldSize);
    for (int rank = 0; rank < kWorldSize; ++rank) {
      EXPECT_TRUE(
          nodes_[rank]->RunStep(epoch, step, replies[rank].Callback()).ok());
    }
    return replies;
  }

  static Step Row(int position) {
    Step step = OneRow(1 + position);
    step.slices[0].first_position = position;
    step.slices[0].hash_logits = true;
    return step;
  }

  // Three steps have the bits of a CPU that works alone.
  void ExpectSameBits(uint64_t epoch) {
    Cluster alone(*model_, 1, headwise::Options());
    for (int position = 0; position < 3; ++position) {
      const Answer wanted = alone.Run(Row(position));
      std::vector<Reply<Answer>> replies = StartStep(epoch, Row(position));
      const Answer first = replies[0].Wait();
      const Answer second = replies[1].Wait();
      ASSERT_TRUE(wanted.ok() && first.ok() && second.ok())
          << first.status() << second.status();
      EXPECT_EQ(first->results[0].logits_digests,
                wanted->results[0].logits_digests);
      EXPECT_EQ(first->draws_digest, second->draws_digest);
    }
  }

  int64_t CountCalls(int rank, const std::string& name) {
    const std::vector<std::string> calls = nccl().calls(rank);
    return std::count(calls.begin(), calls.end(), name);
  }

  absl::Duration group_timeout_ = absl::Minutes(10);
  const TinyModel model_{TinyModelOptions()};
  std::vector<std::unique_ptr<FakeNccl>> nccls_;
  std::vector<std::unique_ptr<cuda::HostDevice>> devices_;
  std::vector<std::unique_ptr<WorkerNode>> nodes_;
};

TEST_F(NcclWorkersTest, StepsHaveTheBitsOfOneCpuAndSumsStayOnTheDevice) {
  ASSERT_EQ(Form(5), std::vector<absl::Status>(kWorldSize));
  ExpectSameBits(5);
  const int64_t num_sums = 3 * 2 * (*model_).hyperparameters().num_layers;
  EXPECT_EQ(CountCalls(1, "AllReduceSum"), num_sums + 1);  // Join's
  EXPECT_EQ(CountCalls(1, "ToDevice"), CountCalls(1, "AllGather") + 1);
  EXPECT_EQ(nccl().misuses(), 0);
}

TEST_F(NcclWorkersTest, TheIdComesFromRankZeroAlone) {
  const auto first = Prepare(*nodes_[0], TinyConfig(5, 0));
  const auto second = Prepare(*nodes_[1], TinyConfig(5, 1));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_THAT(
      first->endpoint,
      HasSubstr("kind=nccl rank=0 world_size=2 epoch=5 at=22809,0102ff"));
  EXPECT_THAT(second->endpoint, testing::EndsWith("epoch=5 at=22809,-"));
  EXPECT_EQ(CountCalls(1, "CreateId"), 0);
  // What is not of this group is refused before NCCL sees it.
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Join(*nodes_[1], 5, {second->endpoint, second->endpoint})));
  EXPECT_EQ(CountCalls(1, "Init"), 0);
}

// Whatever fails: its worker names it, a worker that waits for it hears of the
// next epoch, and the next group computes.
TEST_F(NcclWorkersTest, EveryFailureIsNamedAndTheNextEpochComputes) {
  ASSERT_EQ(Form(1), std::vector<absl::Status>(kWorldSize));
  for (Reply<Answer>& reply : StartStep(1, Row(0))) {
    ASSERT_TRUE(reply.Wait().ok());
  }
  const std::vector<std::string> calls = nccl().calls(1);
  for (uint64_t n = 1; n <= calls.size(); ++n) {
    SCOPED_TRACE(absl::StrCat("call ", n, ", ", calls[n - 1]));
    NewNccl({FakeNccl::Failure::kAtOnce, /*rank=*/1, static_cast<int>(n)});
    group_timeout_ = absl::Seconds(1);
    absl::Status failed = Form(10 * n).back();
    std::vector<Reply<Answer>> replies;
    if (failed.ok()) {
      replies = StartStep(10 * n, Row(0));
      failed = replies[1].Wait().status();
    }
    EXPECT_THAT(std::string(failed.message()),
                HasSubstr(calls[n - 1] + " failed"));
    NewNccl({});
    group_timeout_ = absl::Minutes(10);
    ASSERT_EQ(Form(10 * n + 1), std::vector<absl::Status>(kWorldSize));
    if (!replies.empty()) {
      // What failed on its rank may have reached the other all the same.
      EXPECT_THAT(replies[0].Wait().status().ToString(),
                  AnyOf("OK", HasSubstr("replaced by membership epoch"),
                        HasSubstr(" waited 1s in ")));
    }
    for (Reply<Answer>& reply : StartStep(10 * n + 1, Row(0))) {
      EXPECT_TRUE(reply.Wait().ok());
    }
  }
}

TEST_F(NcclWorkersTest, AWorkerWithoutNcclRefusesByName) {
  WorkerNodeOptions options = Options();
  options.prepare_group = nullptr;
  WorkerNode node(options);
  WorkerConfig config = Config(1);
  config.group = GroupChoice::kNccl;
  const absl::Status refused = Prepare(node, config).status();
  EXPECT_TRUE(absl::IsUnimplemented(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("a group over NCCL"));
}

TEST(UseNcclTest, OnTheCpuAndWithoutNcclThereIsNothingToTell) {
  for (const char* device : {"cpu", "cuda:0"}) {
    WorkerNodeOptions options;
    const auto offer = UseNccl(device, &options);
    ASSERT_TRUE(offer.ok()) << offer.status();
    EXPECT_EQ(offer->gpu_id, "");
    EXPECT_EQ(offer->version, 0);
    EXPECT_FALSE(options.open_nccl);
  }
  WorkerNodeOptions options;
  EXPECT_TRUE(absl::IsInvalidArgument(UseNccl("gpu", &options).status()));
}

}  // namespace
}  // namespace headwise
