#include "tests/support/child_process.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

std::unique_ptr<ChildProcess> Shell(const TemporaryFolder& folder,
                                    const std::string& script) {
  return ChildProcess::Start({"/bin/sh", "-c", script}, folder.Path("log"))
      .value();
}

TEST(ChildProcessTest, ExitStatusSignalAndOutput) {
  TemporaryFolder folder;
  auto exits = Shell(folder, "echo out; echo err >&2; exit 7");
  EXPECT_EQ(exits->Wait(absl::Seconds(20)).value(), 7);
  EXPECT_THAT(exits->Log(), HasSubstr("out\nerr\n"));
  auto killed = Shell(folder, "exec sleep 1000");
  EXPECT_TRUE(killed->IsRunning());
  killed->Signal(SIGKILL);
  EXPECT_EQ(killed->Wait(absl::Seconds(20)).value(), -SIGKILL);
}

TEST(ChildProcessTest, DestructorEndsAStoppedProcess) {
  TemporaryFolder folder;
  auto child = Shell(folder, "exec sleep 1000");
  const pid_t pid = child->pid();
  child->Signal(SIGSTOP);
  child.reset();
  EXPECT_EQ(kill(pid, 0), -1) << "it was reaped, so the id is free";
}

TEST(ChildProcessTest, WaitGivesUp) {
  TemporaryFolder folder;
  auto child = Shell(folder, "exec sleep 1000");
  EXPECT_EQ(child->Wait(absl::Milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(WaitForPortFileTest, ReadsThePortOrShowsTheLog) {
  TemporaryFolder folder;
  const std::string file = folder.Path("port");
  auto good = Shell(folder, "echo 4242 > " + file + "; exec sleep 1000");
  EXPECT_EQ(WaitForPortFile(file, *good, absl::Seconds(20)).value(), 4242);
  auto bad = Shell(folder, "echo no such model; exit 2");
  const auto port =
      WaitForPortFile(folder.Path("none"), *bad, absl::Seconds(20));
  EXPECT_EQ(port.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(port.status().message(), HasSubstr("no such model"));
}

TEST(TemporaryFolderTest, IsRemovedWithItsContent) {
  std::string path;
  {
    TemporaryFolder folder;
    path = folder.Path("");
    auto child = Shell(folder, "true");
    EXPECT_TRUE(child->Wait(absl::Seconds(20)).ok());
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace headwise
