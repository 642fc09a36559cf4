#include "worker/service/device_choice.h"

#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/backends/cuda/host_device.h"
#include "worker/executor/executor_fixture.h"
#include "worker/service/worker_node_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

TEST(DeviceChoiceTest, OnlyTheCpuAndGpusByNumberAreDevices) {
  const auto cpu = OpenDevice("cpu");
  ASSERT_TRUE(cpu.ok());
  EXPECT_EQ(*cpu, nullptr);
  for (const char* text : {"", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(OpenDevice(text).status())) << text;
  }
  EXPECT_EQ(OpenDevice("cuda:0").status(),
            absl::UnimplementedError("GPUs: this build has no CUDA"));
}

TEST(DeviceChoiceTest, WithoutALimitThereIsWhatTheDeviceHas) {
  cuda::HostDevice device(12345);
  WorkerNodeOptions options;
  ASSERT_TRUE(RunOnDevice(device, &options).ok());
  EXPECT_EQ(options.memory_bytes, 12345);
  options.memory_bytes = 77;
  ASSERT_TRUE(RunOnDevice(device, &options).ok());
  EXPECT_EQ(options.memory_bytes, 77);
  options = {};
  options.open_nccl = [](int64_t) { return absl::UnimplementedError(""); };
  cuda::HostDevice large(kNcclBytes + 12345);
  ASSERT_TRUE(RunOnDevice(large, &options).ok());
  EXPECT_EQ(options.memory_bytes, 12345);
  options.park_dir = "/tmp";
  EXPECT_TRUE(absl::IsUnimplemented(RunOnDevice(device, &options)));
}

class DeviceNodeTest : public WorkerNodeTest {
 protected:
  WorkerNodeOptions OptionsOn(cuda::Device& device) {
    WorkerNodeOptions options = Options();
    options.open_model = [this](const std::string&) {
      return std::shared_ptr<const Model>(std::shared_ptr<void>(), &*model_);
    };
    EXPECT_TRUE(RunOnDevice(device, &options).ok());
    return options;
  }
  WorkerConfig TinyConfig(uint64_t epoch) {
    WorkerConfig config = Config(epoch);
    config.shard = ShardOf(*model_, 0, 1);
    return config;
  }
  absl::Status FormTiny(WorkerNode& node, uint64_t epoch) {
    const auto prepared = Prepare(node, TinyConfig(epoch));
    if (!prepared.ok()) return prepared.status();
    return Join(node, epoch, {prepared->endpoint});
  }

  const TinyModel model_{TinyModelOptions()};
};

TEST_F(DeviceNodeTest, AWorkerWhoseDeviceFailsLeavesItsGroup) {
  cuda::HostDevice device(int64_t{1} << 30);
  WorkerNode node(OptionsOn(device));
  ASSERT_TRUE(FormTiny(node, 5).ok());
  EXPECT_TRUE(Run(node, 5, OneRow(1)).ok());
  device.FailCall(7);
  Step next = OneRow(2);
  next.slices[0].first_position = 1;
  const absl::Status failed = Run(node, 5, next).status();
  EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
  EXPECT_THAT(failed.message(), HasSubstr("made to fail, call"));
  EXPECT_EQ(Run(node, 5, OneRow(3)).status(), failed);
  EXPECT_TRUE(absl::IsFailedPrecondition(node.ClaimSteps(5)));
  // What does not come back is told to whoever forms the next group; what does
  // serves in it.
  EXPECT_THAT(FormTiny(node, 6).message(), HasSubstr("made to fail"));
  EXPECT_EQ(device.allocated_bytes(), 0);
  device.FailCall(0);
  EXPECT_TRUE(FormTiny(node, 7).ok());
  EXPECT_TRUE(Run(node, 7, OneRow(1)).ok());
}

}  // namespace
}  // namespace headwise
