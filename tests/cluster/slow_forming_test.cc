// The same as forming_test.cc, of what takes longer.

#include "tests/cluster/forming_fixture.h"

namespace headwise {
namespace {

class SlowFormingTest : public FormingFixture {};

TEST_F(SlowFormingTest, ARankThatDoesNotJoinOverTcpIsLeftOut) {
  ExpectARankThatDoesNotJoinIsLeftOut("gloo");
}

// An engine that loads has a minute for each piece; then its worker falls
// silent, though the process lives, and is dead 3 s later.
TEST_F(SlowFormingTest, AnEngineThatHangsInItsLoadingIsGivenUpAfterAMinute) {
  StopInTheMiddle({});
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(WaitForWorldSize(1, absl::Minutes(2))) << Logs();
  EXPECT_LT(Since(struck_at_), absl::Seconds(100)) << Logs();
  EXPECT_TRUE(workers_[1]->IsRunning());
  AskUntilWhole(request_, {});
  newcomer_.reset();
  ExpectBothServe();
}

}  // namespace
}  // namespace headwise
