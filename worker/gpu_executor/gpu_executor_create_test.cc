// What an executor on a device refuses to be, and what it takes.

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/backends/cuda/host_device.h"
#include "worker/gpu_executor/gpu_executor_fixture.h"

namespace headwise {
namespace {

constexpr int64_t kTwinBytes = int64_t{1} << 30;

absl::Status CreateOn(cuda::Device& device, const Model& model,
                      const ExecutorOptions& options) {
  return CreateGpuExecutor(model, ShardOf(model, 0, 1), options, device,
                           nullptr)
      .status();
}

TEST(GpuExecutorCreateTest, RefusesByNameWhatItHasNot) {
  cuda::HostDevice device(kTwinBytes);
  const TinyModel model(TinyModelOptions{});
  const auto refused = [&](const ExecutorOptions& options,
                           const std::string& text) {
    const absl::Status status = CreateOn(device, *model, options);
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), text)) << status;
  };
  ExecutorOptions options = Options();
  options.reduction = ReductionMode::kFast;
  refused(options, "the fast reduction");
  options = Options();
  options.park_dir = "/tmp";
  refused(options, "parking");
  const Shard cut = WithCuts(*model, ShardOf(*model, 0, 1), 0, 1, {0});
  EXPECT_TRUE(absl::IsUnimplemented(
      CreateGpuExecutor(*model, cut, Options(), device, nullptr).status()));
  EXPECT_EQ(device.num_calls(), 0);
}

TEST(GpuExecutorCreateTest, TooLittleMemoryIsRefusedBeforeAnyIsTaken) {
  const TinyModel model(TinyModelOptions{});
  ExecutorOptions options = Options();
  cuda::HostDevice large(kTwinBytes);
  auto executor =
      CreateGpuExecutor(*model, ShardOf(*model, 0, 1), options, large, nullptr);
  ASSERT_TRUE(executor.ok()) << executor.status();
  EXPECT_EQ((*executor)->kv_capacity_blocks() * 64 *
                KvBytesPerPosition(KvType::kFp32, 16),
            options.kv_capacity_bytes);
  // Of the KV that was ordered most must go.
  const int64_t all = large.allocated_bytes();
  cuda::HostDevice small(all - options.kv_capacity_bytes / 2);
  auto bounded =
      CreateGpuExecutor(*model, ShardOf(*model, 0, 1), options, small, nullptr);
  ASSERT_TRUE(bounded.ok()) << bounded.status();
  EXPECT_LT((*bounded)->kv_capacity_blocks(),
            (*executor)->kv_capacity_blocks());
  EXPECT_GE(small.allocated_bytes(), all - options.kv_capacity_bytes * 5 / 8);

  // No KV, and none of the tables of two lanes.
  const int64_t rest =
      all - options.kv_capacity_bytes - 16 * (*executor)->kv_capacity_blocks();
  cuda::HostDevice tiny(rest);
  const absl::Status refused = CreateOn(tiny, *model, options);
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(),
                                absl::StrCat("available are ", rest)))
      << refused;
  EXPECT_EQ(tiny.num_calls(), 1) << "what is available, and no more";
  options.memory_bytes = 1000;
  EXPECT_TRUE(absl::IsResourceExhausted(CreateOn(large, *model, options)));
  bounded->reset();
  executor->reset();
  EXPECT_EQ(large.allocated_bytes() + small.allocated_bytes(), 0);
}

}  // namespace
}  // namespace headwise
