#include "tests/support/control_group.h"

#include <signal.h>

#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "base/clock.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

// Adds the shell to the group before it does its work.
std::unique_ptr<ChildProcess> RunIn(ControlGroup& group,
                                    const TemporaryFolder& folder,
                                    const std::string& script) {
  auto child =
      ChildProcess::Start({"/bin/sh", "-c", "kill -STOP $$; " + script},
                          folder.Path("log"))
          .value();
  EXPECT_TRUE(group.Add(child->pid()).ok());
  // Continued until it goes on: it may not have stopped yet.
  WaitUntil(
      [&] {
        child->Signal(SIGCONT);
        return !child->Log().empty() || !child->IsRunning();
      },
      absl::Seconds(20));
  return child;
}

TEST(ControlGroupTest, WhoNeedsMoreMemoryIsKilledAndCounted) {
  auto group = ControlGroup::Create();
  ASSERT_TRUE(group.ok()) << group.status();
  ASSERT_TRUE((*group)->LimitMemory(32 << 20).ok());
  TemporaryFolder folder;
  auto child =
      RunIn(**group, folder,
            "echo begun; exec /usr/bin/python3 -c 'b = bytearray(256 << 20)'");
  EXPECT_EQ(child->Wait(absl::Seconds(30)).value_or(0), -SIGKILL)
      << child->Log();
  EXPECT_EQ((*group)->NumMemoryKills().value_or(-1), 1);
}

TEST(ControlGroupTest, ATenthOfACpuIsATenth) {
  auto group = ControlGroup::Create();
  ASSERT_TRUE(group.ok()) << group.status();
  ASSERT_TRUE((*group)->LimitCpu(0.1).ok());
  TemporaryFolder folder;
  const absl::Time begin = Clock::Monotonic().Now();
  auto child = RunIn(**group, folder,
                     "echo begun; exec /usr/bin/python3 -c '\n"
                     "import time\nwhile time.process_time() < 0.2: pass'");
  EXPECT_EQ(child->Wait(absl::Seconds(60)).value_or(-1), 0) << child->Log();
  EXPECT_GT(Clock::Monotonic().Now() - begin, absl::Seconds(1));
}

}  // namespace
}  // namespace headwise
