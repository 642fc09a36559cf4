// Every call of a device made to fail in turn, and weights and values that are
// not what they should be.

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/backends/cuda/host_device.h"
#include "worker/collectives/fake_nccl.h"
#include "worker/collectives/nccl_group.h"
#include "worker/gpu_executor/gpu_executor_fixture.h"

namespace headwise {
namespace {

constexpr int64_t kTwinBytes = int64_t{1} << 30;

cuda::HostDevice& TwinOf(MixedCluster& cluster) {
  return dynamic_cast<cuda::HostDevice&>(cluster.device(0));
}

ExecutorOptions SmallOptions() {
  ExecutorOptions options = Options();
  options.kv_capacity_bytes = 1 << 20;
  return options;
}

// Prefill of two sequences, and a decode of one with a fork.
std::vector<Step> SomeSteps() {
  Slice sampled = ScoreSlice(2, SomeTokens(5), 0, 5);
  sampled.sample = true;
  Slice next;
  next.sequence_id = 2;
  next.first_position = 5;
  next.use_last_sample = true;
  Step last = {2, {next}, {1}};
  last.forks.push_back({.sequence_id = 3, .from_sequence_id = 2, .length = 3});
  return {{1, {ScoreSlice(1, SomeTokens(70), 0, 70), sampled}, {}}, last};
}

TEST(GpuExecutorFaultTest, EveryFailureOfCreateIsNamedAndLeavesNothing) {
  const TinyModel model(TinyModelOptions{});
  int64_t n = 1;
  for (bool failed = true; failed; ++n) {
    cuda::HostDevice device(kTwinBytes);
    device.FailCall(n);
    const absl::Status status =
        CreateGpuExecutor(*model, ShardOf(*model, 0, 1), SmallOptions(), device,
                          nullptr)
            .status();
    failed = !status.ok();
    EXPECT_EQ(device.allocated_bytes(), 0) << n;
    if (failed) {
      EXPECT_TRUE(absl::StrContains(status.message(), "made to fail, call "))
          << status;
    }
  }
  EXPECT_GT(n, 20);
}

TEST(GpuExecutorFaultTest, AfterAFailureOfAStepAllStepsFailWithItsName) {
  const TinyModel model(TinyModelOptions{});
  const std::vector<Step> steps = SomeSteps();
  int64_t n = 1;
  for (bool failed = true; failed; n += 5) {
    MixedCluster cluster(*model, "g", SmallOptions());
    TwinOf(cluster).FailCall(n);
    absl::Status first;
    for (const Step& step : steps) first.Update(cluster->Run(step).status());
    // Nothing but a free: a fork's copy may have failed in the last step.
    const absl::Status later = cluster->Run({3, {}, {2}}).status();
    failed = !first.ok();
    EXPECT_EQ(later.ok(), !failed) << n;
    if (!failed) continue;
    EXPECT_TRUE(absl::IsUnavailable(first)) << first;
    EXPECT_TRUE(
        absl::StrContains(first.message(), absl::StrCat("made to fail, call ")))
        << first;
    EXPECT_EQ(later, first);
    EXPECT_FALSE(cluster->rank(0).CheckWeights(1000).ok());
  }
  EXPECT_GT(n, 100);
}

// As a worker does: who can't go on ends the group, and no rank waits for it.
TEST(GpuExecutorFaultTest, AFailureInAGroupEndsItAtEveryRank) {
  const TinyModel model(TinyModelOptions{});
  const std::vector<Step> steps = SomeSteps();
  GroupOptions group_options;
  group_options.timeout = absl::Seconds(30);
  group_options.started_sum_bytes = MaxSumBytes((*model).hyperparameters());
  int64_t n = 1;
  for (bool failed = true; failed; n += 11) {
    const auto groups = *CreateInProcessGroups(2, 1, group_options);
    cuda::HostDevice device(kTwinBytes);
    std::vector<std::unique_ptr<Executor>> executors;
    executors.push_back(*CreateGpuExecutor(*model, ShardOf(*model, 0, 2),
                                           SmallOptions(), device, nullptr));
    executors.push_back(*Executor::Create(*model, ShardOf(*model, 1, 2),
                                          SmallOptions(), nullptr));
    device.FailCall(n);
    std::vector<absl::Status> statuses(2);
    const auto run = [&](size_t rank) {
      executors[rank]->SetGroup(groups[rank].get());
      for (const Step& step : steps) {
        statuses[rank] = executors[rank]->Run(step).status();
        if (statuses[rank].ok()) continue;
        groups[rank]->Abort(statuses[rank]);
        return;
      }
    };
    std::thread other(run, 1);
    run(0);
    other.join();
    failed = !statuses[0].ok();
    if (failed && statuses[1].ok()) {
      // It failed after all that they do together: the next step tells.
      Step next;
      next.step_id = 3;
      next.slices.push_back(ScoreSlice(9, SomeTokens(3), 0, 3));
      statuses[1] = executors[1]->Run(next).status();
    }
    for (const absl::Status& status : statuses) {
      EXPECT_EQ(status.ok(), !failed) << n;
      EXPECT_EQ(absl::StrContains(status.message(), "made to fail"), failed)
          << n << ": " << status;
    }
    executors.clear();
    EXPECT_EQ(device.allocated_bytes(), 0);
  }
  EXPECT_GT(n, 100);
}

// A tiny model in which the embedding of token 310 is not a number.
std::string GgufWithBadToken() {
  TinyModelOptions options;
  options.tied_embeddings = false;
  std::string file = WriteTinyGguf(options);
  const TinyModel model(file);
  const TensorView& table = *(*model).FindTensor("token_embd.weight");
  const auto row_bytes = static_cast<size_t>(table.row_bytes());
  const std::string bytes(
      reinterpret_cast<const char*>(table.bytes.data()) + 310 * row_bytes,
      row_bytes);
  const float bad = std::nanf("");
  std::memcpy(file.data() + file.find(bytes), &bad, sizeof(bad));
  return file;
}

// Of all ranks, over a NCCL of the test's.
std::vector<std::unique_ptr<Group>> NcclGroups(FakeNccl& nccl, int world_size) {
  std::vector<std::unique_ptr<PendingGroup>> pending;
  std::vector<std::string> endpoints;
  for (int rank = 0; rank < world_size; ++rank) {
    const GroupSpec spec = {.kind = GroupKind::kNccl,
                            .rank = rank,
                            .world_size = world_size,
                            .options = {.timeout = absl::Seconds(30)}};
    pending.push_back(
        *PrepareNcclGroup(spec, [&](int64_t) { return nccl.Open(rank); }));
    endpoints.push_back(pending.back()->endpoint());
  }
  std::vector<std::unique_ptr<Group>> groups(world_size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back(
        [&, rank] { groups[rank] = *pending[rank]->Join(endpoints); });
  }
  for (std::thread& thread : threads) thread.join();
  return groups;
}

// The second batch of rows has its sums with the group when the first fails.
TEST(GpuExecutorFaultTest, RowsThatAreNotFiniteFailTheStepAndNotTheGroup) {
  const TinyModel model(GgufWithBadToken());
  const std::vector<int32_t> good = SomeTokens(200);
  Cluster fresh(*model, 1, Options());
  const Scored expected = ScoreIn(fresh, good, 200, 0);
  for (const std::string ranks : {"g", "cg", "gg"}) {
    for (const size_t bad_row : {5, 150}) {
      SCOPED_TRACE(absl::StrCat(ranks, ", row ", bad_row));
      FakeNccl nccl(2, /*staging_bytes=*/3 << 16);
      const auto groups = NcclGroups(nccl, 2);
      MixedCluster cluster(*model, ranks, Options());
      for (int rank = 0; ranks == "gg" && rank < 2; ++rank) {
        cluster->rank(rank).SetGroup(groups[rank].get());
      }
      std::vector<int32_t> bad = good;
      bad[bad_row] = 310;
      Step step;
      step.slices.push_back(ScoreSlice(2, bad, 0, 200));
      const absl::Status status = cluster->Run(step).status();
      EXPECT_EQ(status, fresh.Run(step).status());
      EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
      step = {};
      step.free_sequence_ids = {2};
      EXPECT_TRUE(cluster->Run(step).ok());
      EXPECT_TRUE(fresh.Run(step).ok());
      EXPECT_EQ(ScoreIn(*cluster, good, 200, 0), expected);
    }
  }
}

TEST(GpuExecutorFaultTest, WeightsThatChangeInDeviceMemoryAreFound) {
  const TinyModel model(TinyModelOptions{});
  MixedCluster cluster(*model, "g", SmallOptions());
  Executor& executor = cluster->rank(0);
  const int64_t bytes = executor.weight_bytes();
  EXPECT_TRUE(executor.CheckWeights(bytes).ok());
  TwinOf(cluster).FlipLastBit(bytes);
  const absl::Status status = executor.CheckWeights(bytes);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "vocabulary tile 0"))
      << status;
}

}  // namespace
}  // namespace headwise
