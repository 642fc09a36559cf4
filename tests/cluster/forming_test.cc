// What becomes of requests while a group is formed in vain.

#include <signal.h>

#include "tests/cluster/forming_fixture.h"

namespace headwise {
namespace {

class FormingTest : public FormingFixture {};

TEST_F(FormingTest, ARankThatDoesNotJoinIsLeftOut) {
  ExpectARankThatDoesNotJoinIsLeftOut("shm");
}

// The whole process is frozen, after it was ready: nobody waits until the
// other has loaded.
TEST_F(FormingTest, AProcessThatFreezesIsNotWaitedForWhileAnotherLoads) {
  StopInTheMiddle({});
  ASSERT_FALSE(HasFatalFailure());
  workers_[0]->Signal(SIGSTOP);
  // A worker is dead once it was silent for 3 s.
  EXPECT_TRUE(WaitUntil(
      [&] {
        return absl::StrContains(coordinator_->Log(),
                                 "worker w0 could not prepare: it has left");
      },
      absl::Seconds(15)))
      << Logs();
  newcomer_.reset();
  AskUntilWhole(request_, {});
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  workers_[0]->Signal(SIGCONT);
  ExpectBothServe();
}

}  // namespace
}  // namespace headwise
