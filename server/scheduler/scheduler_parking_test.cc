// Prefixes that go to files and come back.

#include "absl/strings/match.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using EndList = std::vector<std::pair<uint64_t, absl::StatusCode>>;

class SchedulerParkingTest : public SchedulerTest {
 protected:
  ParkAction NextAction() {
    std::optional<TicketedStep> step = scheduler_->NextStep(now_);
    EXPECT_TRUE(step.has_value() && step->step.parks.size() == 1);
    const ParkAction action = step->step.parks.at(0).action;
    sent_.push_back(*std::move(step));
    return action;
  }
  void AnswerParkWith(absl::Status status) {
    StepResult result;
    result.parks = {{std::move(status), 0}};
    workers_->SkipStep();
    AnswerWith(std::move(result));
  }
  int64_t used() const { return scheduler_->stats().kv_bytes_used[0]; }
};

TEST_F(SchedulerParkingTest, ParkedPrefixFreesItsMemoryAndComesBack) {
  const uint64_t prefix = HoldPrefix(100);
  const int64_t reserved = used();
  ASSERT_GT(reserved, 0);
  const auto park = scheduler_->Park(prefix);
  ASSERT_TRUE(park.ok()) << park.status();
  EXPECT_EQ(NextAction(), ParkAction::kWrite);
  EXPECT_FALSE(scheduler_->NextStep(now_).has_value()) << "files go alone";
  Answer();
  EXPECT_EQ(used(), reserved);
  EXPECT_EQ(NextAction(), ParkAction::kUnload);
  Answer();
  EXPECT_EQ(Ends(), (EndList{{*park, absl::StatusCode::kOk}}));
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(workers_->num_sequences(), 0);
  EXPECT_EQ(scheduler_->stats().held, 1);
  EXPECT_EQ(scheduler_->stats().parked, 1);
  EXPECT_EQ(scheduler_->stats().parked_bytes, std::vector<int64_t>{1000});

  EngineRequest fork = Generate(3, 2);
  fork.fork_from = prefix;
  EXPECT_EQ(scheduler_->Submit(fork, now_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(scheduler_->Park(prefix).status().code(),
            absl::StatusCode::kFailedPrecondition);

  const auto unpark = scheduler_->Unpark(prefix);
  ASSERT_TRUE(unpark.ok()) << unpark.status();
  EXPECT_EQ(scheduler_->Unpark(prefix).status().code(),
            absl::StatusCode::kFailedPrecondition);
  RunAll();
  EXPECT_EQ(Ends(), (EndList{{*unpark, absl::StatusCode::kOk}}));
  EXPECT_EQ(used(), reserved);
  EXPECT_EQ(workers_->num_files(), 0);
  EXPECT_TRUE(scheduler_->stats().parked_bytes.empty());
  const uint64_t answer = Submit(fork);
  RunAll();
  EXPECT_EQ(Ends(), (EndList{{answer, absl::StatusCode::kOk}}));
}

TEST_F(SchedulerParkingTest, AFailedWriteIsUndoneAndChangesNothing) {
  const uint64_t prefix = HoldPrefix(100);
  const int64_t reserved = used();
  const uint64_t park = *scheduler_->Park(prefix);
  EXPECT_EQ(NextAction(), ParkAction::kWrite);
  AnswerParkWith(absl::ResourceExhaustedError("rank 1: disk"));
  EXPECT_TRUE(Ends().empty());
  EXPECT_EQ(NextAction(), ParkAction::kErase);
  Answer();
  EXPECT_EQ(Ends(), (EndList{{park, absl::StatusCode::kResourceExhausted}}));
  EXPECT_EQ(used(), reserved);
  EXPECT_EQ(scheduler_->stats().parked, 0);
  EngineRequest fork = Generate(3, 2);
  fork.fork_from = prefix;
  EXPECT_TRUE(scheduler_->Submit(fork, now_).ok());
}

TEST_F(SchedulerParkingTest, AFailedReadIsUndoneAndItStaysParked) {
  const uint64_t prefix = HoldPrefix(100);
  ASSERT_TRUE(scheduler_->Park(prefix).ok());
  RunAll();
  Ends();
  const uint64_t unpark = *scheduler_->Unpark(prefix);
  EXPECT_EQ(NextAction(), ParkAction::kRead);
  EXPECT_GT(used(), 0);
  AnswerParkWith(absl::DataLossError("rank 0: hash"));
  EXPECT_EQ(NextAction(), ParkAction::kUnload);
  Answer();
  EXPECT_EQ(Ends(), (EndList{{unpark, absl::StatusCode::kDataLoss}}));
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(scheduler_->stats().parked, 1);
  scheduler_->Release(prefix, now_);
  RunAll();
  EXPECT_EQ(workers_->num_files(), 0);
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerParkingTest, ReleaseWhileItMovesTakesItAfterwards) {
  const uint64_t prefix = HoldPrefix(100);
  const uint64_t park = *scheduler_->Park(prefix);
  EXPECT_EQ(NextAction(), ParkAction::kWrite);
  scheduler_->Release(prefix, now_);
  Answer();
  RunAll();
  EXPECT_EQ(Ends(), (EndList{{park, absl::StatusCode::kOk}}));
  EXPECT_EQ(workers_->num_files() + workers_->num_sequences(), 0);
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(scheduler_->stats().held, 0);
  EXPECT_EQ(scheduler_->Unpark(prefix).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(SchedulerParkingTest, PrefixInUseIsNotParked) {
  const uint64_t prefix = HoldPrefix(100);
  EngineRequest fork = Generate(3, 2);
  fork.fork_from = prefix;
  Submit(fork);
  const auto park = scheduler_->Park(prefix);
  EXPECT_EQ(park.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(park.status().message(), "in use by 1"));
  RunAll();
  EXPECT_TRUE(scheduler_->Park(prefix).ok());
}

// What was released, but lived on for those that began with it, goes too.
TEST_F(SchedulerParkingTest, ParkedExtensionLetsItsOriginGo) {
  const uint64_t prefix = HoldPrefix(100);
  const uint64_t longer = HoldPrefix(30, prefix);
  scheduler_->Release(prefix, now_);
  EXPECT_EQ(scheduler_->stats().held, 2);
  ASSERT_TRUE(scheduler_->Park(longer).ok());
  RunAll();
  EXPECT_EQ(scheduler_->stats().held, 1);
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(workers_->num_sequences(), 0);
  ASSERT_TRUE(scheduler_->Unpark(longer).ok());
  RunAll();
  EXPECT_EQ(workers_->num_sequences(), 1);
  EXPECT_EQ(scheduler_->stats().held, 1);
}

TEST_F(SchedulerParkingTest, NoRoomToComeBackIsSaidAtOnce) {
  const uint64_t prefix = HoldPrefix(600);
  ASSERT_TRUE(scheduler_->Park(prefix).ok());
  RunAll();
  EXPECT_EQ(Ends().size(), 1u);
  const uint64_t other = HoldPrefix(600);
  const auto unpark = scheduler_->Unpark(prefix);
  EXPECT_EQ(unpark.status().code(), absl::StatusCode::kResourceExhausted);
  scheduler_->Release(other, now_);
  RunAll();
  EXPECT_TRUE(scheduler_->Unpark(prefix).ok());
}

TEST_F(SchedulerParkingTest, LossOfTheGroupEndsJobsAndLeavesTokens) {
  const uint64_t prefix = HoldPrefix(100);
  const uint64_t park = *scheduler_->Park(prefix);
  EXPECT_EQ(NextAction(), ParkAction::kWrite);
  LoseGroup();
  EXPECT_EQ(Ends(), (EndList{{park, absl::StatusCode::kUnavailable}}));
  EXPECT_EQ(scheduler_->stats().held, 1);
  EXPECT_EQ(scheduler_->stats().parked, 0);
}

// What lies in no memory is parked without work, and comes back with its use.
TEST_F(SchedulerParkingTest, ALostPrefixIsParkedAndTakenUpAtOnce) {
  const uint64_t prefix = HoldPrefix(100);
  ASSERT_TRUE(scheduler_->Park(prefix).ok());
  RunAll();
  Ends();
  LoseGroup();
  const auto unpark = scheduler_->Unpark(prefix);
  ASSERT_TRUE(unpark.ok()) << unpark.status();
  const auto park = scheduler_->Park(prefix);
  ASSERT_TRUE(park.ok()) << park.status();
  EXPECT_EQ(Ends(), (EndList{{*unpark, absl::StatusCode::kOk},
                             {*park, absl::StatusCode::kOk}}));
  EXPECT_EQ(used(), 0);
  EngineRequest fork = Generate(3, 2);
  fork.fork_from = prefix;
  const uint64_t answer = Submit(fork);
  RunAll();
  EXPECT_EQ(Ends(), (EndList{{answer, absl::StatusCode::kOk}}));
  EXPECT_EQ(workers_->num_sequences(), 1) << "the prefix is back";
}

// Its origin is gone, and with it what was computed under another plan.
TEST_F(SchedulerParkingTest, AParkedExtensionOfItsOriginComesBackWhole) {
  const uint64_t prefix = HoldPrefix(100);
  const uint64_t longer = HoldPrefix(30, prefix);
  scheduler_->Release(prefix, now_);
  ASSERT_TRUE(scheduler_->Park(longer).ok());
  RunAll();
  Ends();
  LoseGroup();
  EXPECT_EQ(scheduler_->stats().held, 1);
  EngineRequest fork = Generate(3, 2);
  fork.fork_from = longer;
  const uint64_t answer = Submit(fork);
  EXPECT_EQ(Next().size(), 1u);
  EXPECT_EQ(sent_.back().step.slices[0].sequence_id, longer);
  EXPECT_TRUE(sent_.back().step.forks.empty());
  RunAll();
  EXPECT_EQ(Ends(), (EndList{{answer, absl::StatusCode::kOk}}));
}

}  // namespace
}  // namespace headwise
