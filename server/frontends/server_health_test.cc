#include "server/frontends/server_health.h"

#include <string>

#include "base/pulse.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/frontend_fakes.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Late from its next reading on.
constexpr absl::Duration kNone = absl::Nanoseconds(-1);

class ServerHealthTest : public testing::Test {
 protected:
  FakeCluster cluster_;
  OpenCalls open_calls_;
  ServerHealth health_{cluster_, open_calls_};
};

TEST_F(ServerHealthTest, StartupIsNeverTakenBack) {
  cluster_.Set(nullptr, false);
  EXPECT_THAT(std::string(health_.Startup().message()),
              HasSubstr("no group of workers has stood yet: 1 workers"));
  cluster_.Set(nullptr, true);
  EXPECT_TRUE(health_.Startup().ok());
  cluster_.Set(nullptr, false);
  EXPECT_TRUE(health_.Startup().ok());
  EXPECT_FALSE(health_.Ready().ok());
}

TEST_F(ServerHealthTest, WithoutWorkersItIsLiveAndNotReady) {
  cluster_.Set(nullptr, false);
  EXPECT_TRUE(health_.Live().ok());
  EXPECT_TRUE(health_.Serving().ok());
  EXPECT_THAT(std::string(health_.Ready().message()),
              HasSubstr("no group of workers stands: 1 workers are ready"));
}

TEST_F(ServerHealthTest, ALateThreadTurnsAllRedButStartup) {
  EXPECT_TRUE(health_.Startup().ok());
  Pulse pulse("test-loop");
  EXPECT_TRUE(health_.Ready().ok());
  pulse.Beat(kNone);
  for (const absl::Status& status :
       {health_.Live(), health_.Serving(), health_.Ready()}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr("test-loop"));
  }
  EXPECT_TRUE(health_.Startup().ok());
  EXPECT_EQ(health_.Detail(), "") << "the cluster may be what is stuck";
  pulse.Beat();
  EXPECT_TRUE(health_.Ready().ok());
}

TEST_F(ServerHealthTest, WhoDrainsIsLiveAndTakesNothing) {
  open_calls_.Close();
  EXPECT_TRUE(health_.Live().ok());
  EXPECT_FALSE(health_.Serving().ok());
  EXPECT_FALSE(health_.Ready().ok());
}

TEST_F(ServerHealthTest, TheDetailNamesWhoIsMissing) {
  EXPECT_EQ(health_.Detail(),
            "1 workers are ready\nmissing: w1: at h:1, gone for 3s");
  cluster_.Set(nullptr, false);
  EXPECT_EQ(health_.Detail(), "missing: w1: at h:1, gone for 3s")
      << "Ready has said the rest";
}

}  // namespace
}  // namespace headwise
