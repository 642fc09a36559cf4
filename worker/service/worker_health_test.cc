#include "worker/service/worker_health.h"

#include "base/pulse.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(WorkerHealthTest, IsReadyWhileItIsRegistered) {
  WorkerHealth health(/*must_register=*/true);
  EXPECT_FALSE(health.Startup().ok());
  EXPECT_TRUE(health.Live().ok());
  EXPECT_FALSE(health.Ready().ok());
  health.SetRegistered(true);
  EXPECT_TRUE(health.Startup().ok());
  EXPECT_TRUE(health.Ready().ok());
  health.SetRegistered(false);
  EXPECT_TRUE(health.Startup().ok()) << "never taken back";
  EXPECT_FALSE(health.Ready().ok());
}

TEST(WorkerHealthTest, WhoIsDialledNeedsNoRegistration) {
  WorkerHealth health(/*must_register=*/false);
  EXPECT_TRUE(health.Startup().ok());
  EXPECT_TRUE(health.Ready().ok());
  health.SetLeaving();
  EXPECT_FALSE(health.Ready().ok());
  EXPECT_TRUE(health.Live().ok());
}

TEST(WorkerHealthTest, ALateThreadIsSeenByAllThatAsk) {
  const WorkerHealth health(/*must_register=*/false);
  Pulse pulse("test-loop");
  pulse.Beat(absl::Nanoseconds(-1));
  EXPECT_FALSE(health.Live().ok());
  EXPECT_FALSE(health.Ready().ok());
  for (const auto& [name, probe] : health.GrpcProbes()) {
    EXPECT_FALSE(probe().ok()) << name;
  }
  OperatorServerOptions options;
  health.SetHttpProbes(&options);
  EXPECT_TRUE(options.startup().status.ok());
  EXPECT_FALSE(options.live().status.ok());
  EXPECT_FALSE(options.ready().status.ok());
}

}  // namespace
}  // namespace headwise
