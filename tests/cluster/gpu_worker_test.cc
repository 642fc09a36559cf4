// A worker whose layers run on a device, the twin of a GPU, in a cluster with
// one whose layers run on the CPU.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

class GpuWorkerTest : public ServedCluster {
 protected:
  void SetUp() override { UseTinyModel(); }

  void StartOnCpu() {
    StartServer(1, {.flags = {"--kv-bytes", "67108864"}});
    ASSERT_FALSE(HasFatalFailure());
    StartWorker("w0");
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  }
  void AddTwin(const std::string& device) {
    StartWorkerWith("w1", {.flags = {"--device", device},
                           .program = std::string(HEADWISE_BINARY_DIR) +
                                      "/../tests/headwise-worker-twin"});
  }
};

TEST_F(GpuWorkerTest, AnswersAreTheSameWithAGpuBesideTheCpu) {
  StartOnCpu();
  ASSERT_FALSE(HasFatalFailure());
  AskUndisturbed(Request(60));
  AddTwin("cuda:0");
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  EXPECT_THAT(workers_[1]->Log(), testing::HasSubstr("device cuda:0"));
  AskUntilWhole(Request(60), {});
  workers_[0]->Signal(SIGTERM);
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  AskUntilWhole(Request(60), {});
  ExpectInvariants();
}

// It leaves the group, and the answer goes on without it.
TEST_F(GpuWorkerTest, AGpuThatFailsCostsAPauseAndNotALetter) {
  StartOnCpu();
  ASSERT_FALSE(HasFatalFailure());
  AskUndisturbed(Request(200));
  AddTwin("cuda:6000");
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  AskUntilWhole(Request(200), {});
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  EXPECT_THAT(Logs(), testing::HasSubstr("made to fail, call 6000"));
  EXPECT_GE(Metric("headwise_rebuilds_total"), 1);
  ExpectInvariants();
}

}  // namespace
}  // namespace headwise
