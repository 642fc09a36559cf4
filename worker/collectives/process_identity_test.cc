#include "worker/collectives/process_identity.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace headwise {
namespace {

// A child that waits until it is killed.
class ProcessIdentityTest : public testing::Test {
 protected:
  void SetUp() override {
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) pause();
    }
  }
  void TearDown() override {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  pid_t child_ = -1;
};

TEST_F(ProcessIdentityTest, RunsUntilItDiesEvenIfNobodyReapsIt) {
  const auto identity = IdentityOf(child_);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->pid, child_);
  EXPECT_TRUE(IsRunning(*identity));
  kill(child_, SIGKILL);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, child_, &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(IsRunning(*identity));  // a zombie
}

TEST_F(ProcessIdentityTest, FrozenProcessStillRuns) {
  const auto identity = IdentityOf(child_);
  ASSERT_TRUE(identity.ok()) << identity.status();
  kill(child_, SIGSTOP);
  EXPECT_TRUE(IsRunning(*identity));
}

TEST_F(ProcessIdentityTest, SamePidOfAnotherStartIsAnotherProcess) {
  auto identity = *IdentityOf(child_);
  ++identity.start_time;
  EXPECT_FALSE(IsRunning(identity));
}

TEST_F(ProcessIdentityTest, NameWithBracketsAndSpacesIsRead) {
  char old_name[16] = {};
  prctl(PR_GET_NAME, old_name);
  const auto before = OwnIdentity();
  prctl(PR_SET_NAME, ") Z 1 (x) y");
  const auto after = OwnIdentity();
  prctl(PR_SET_NAME, old_name);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(*before, *after);
}

TEST(ProcessIdentity, NumberTellsProcessesOfOnePidApart) {
  EXPECT_NE(ProcessNumber({1, 900}), ProcessNumber({1, 901}));
  EXPECT_NE(ProcessNumber({1, 900}), ProcessNumber({2, 900}));
  EXPECT_NE(ProcessNumber({4194304 - 1, 900}), ProcessNumber({0, 901}));
}

TEST(ProcessIdentity, UnknownPidIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(IdentityOf(2000000000).status()));
  EXPECT_TRUE(absl::IsNotFound(IdentityOf(-1).status()));
}

std::string HostIdOfChild(bool is_dumpable) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_DUMPABLE, is_dumpable ? 1 : 0);
    const std::string id = HostId().value_or("error");
    _exit(write(ends[1], id.data(), id.size()) ==
                  static_cast<ssize_t>(id.size())
              ? 0
              : 1);
  }
  close(ends[1]);
  char text[256];
  const ssize_t n = read(ends[0], text, sizeof(text));
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return std::string(text, n > 0 ? n : 0);
}

TEST(HostIdTest, EqualForProcessesOfOneHostThatCanShareMemory) {
  const auto mine = HostId();
  ASSERT_TRUE(mine.ok()) << mine.status();
  EXPECT_EQ(mine->find(' '), std::string::npos);
  EXPECT_EQ(mine->find(':'), std::string::npos);
  EXPECT_EQ(HostIdOfChild(true), *mine);
  EXPECT_NE(HostIdOfChild(false), *mine);
}

}  // namespace
}  // namespace headwise
