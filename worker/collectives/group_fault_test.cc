// How groups fail: killed, frozen, aborted, leaving and confused ranks.
//
// Where a test is about noticing a fault at once, the group's own timeout is
// longer than the test waits, so that a late notice is a failure.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "worker/collectives/rank_runner.h"

namespace headwise {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kLong = absl::Seconds(300);

std::string NameOf(const testing::TestParamInfo<TestKind>& p) {
  const char* names[] = {"InProcess", "SharedMemory", "Gloo"};
  return names[static_cast<int>(p.param)];
}

#if !defined(__SANITIZE_THREAD__)

// Calls until something fails. `num_values` fits one slot, or needs many.
RankBody CallsUntilError(int64_t num_values) {
  return [num_values](Group& group) {
    std::vector<int64_t> values(num_values, 1);
    for (;;) {
      const absl::Status status = group.AllReduceSum(absl::MakeSpan(values));
      if (!status.ok()) return std::string(status.ToString());
    }
  };
}

class ProcessFaultTest : public testing::TestWithParam<TestKind> {};

TEST_P(ProcessFaultTest, KilledRankIsUnavailableForAllOthers) {
  std::mt19937_64 random(20240611);
  for (int trial = 0; trial < 8; ++trial) {
    const int64_t num_values = trial % 2 == 0 ? 576 : 200000;
    const int victim = static_cast<int>(random() % 3);
    const int64_t delay_us = random() % 20000;
    SCOPED_TRACE(absl::StrCat("trial ", trial, ", victim ", victim, " after ",
                              delay_us, " us, ", num_values, " values"));
    RankProcesses ranks(
        {.kind = GetParam(), .world_size = 3, .options = {.timeout = kLong}},
        CallsUntilError(num_values));
    ASSERT_EQ(ranks.Form(), "");
    // Anywhere in a call: which place it hits is the point of the trials.
    absl::SleepFor(absl::Microseconds(delay_us));
    ranks.Signal(victim, SIGKILL);
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == victim) continue;
      EXPECT_THAT(ranks.Answer(rank), StartsWith("UNAVAILABLE: "));
    }
    EXPECT_EQ(ranks.Answer(victim), "killed");
  }
}

TEST_P(ProcessFaultTest, FrozenRankIsDeadlineExceededAndIsNamed) {
  RankProcesses ranks({.kind = GetParam(),
                       .world_size = 2,
                       .options = {.timeout = absl::Milliseconds(500)}},
                      CallsUntilError(576));
  ASSERT_EQ(ranks.Form(), "");
  ranks.Signal(1, SIGSTOP);
  EXPECT_THAT(ranks.Answer(0), AllOf(StartsWith("DEADLINE_EXCEEDED: "),
                                     HasSubstr("for rank 1 in epoch 7")));
  // When it wakes up it finds the group dead.
  ranks.Signal(1, SIGCONT);
  EXPECT_THAT(ranks.Answer(1), AnyOf(StartsWith("DEADLINE_EXCEEDED: "),
                                     StartsWith("UNAVAILABLE: ")));
}

TEST_P(ProcessFaultTest, AllRanksGiveUpOnAFrozenOne) {
  RankProcesses ranks({.kind = GetParam(),
                       .world_size = 4,
                       .options = {.timeout = absl::Milliseconds(500)}},
                      CallsUntilError(20000));
  ASSERT_EQ(ranks.Form(), "");
  ranks.Signal(2, SIGSTOP);
  for (const int rank : {0, 1, 3}) {
    // The first to give up ends the group; others may learn it from that one.
    EXPECT_THAT(ranks.Answer(rank), AnyOf(StartsWith("DEADLINE_EXCEEDED: "),
                                          StartsWith("UNAVAILABLE: ")));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ProcessFaultTest,
                         testing::Values(TestKind::kSharedMemory,
                                         TestKind::kGloo),
                         NameOf);

#endif  // !defined(__SANITIZE_THREAD__)

class FaultTest : public testing::TestWithParam<TestKind> {
 protected:
  TestGroup group(int world_size, absl::Duration timeout = kLong) const {
    return {.kind = GetParam(),
            .world_size = world_size,
            .options = {.timeout = timeout}};
  }
};

// Rank 0 waits for a call that nobody else makes; a second thread aborts it.
TEST_P(FaultTest, AbortWakesTheWaiterAndTellsPeers) {
  const auto said = RunRanks(group(3), [](Group& mine) {
    std::vector<int64_t> values(576);
    if (mine.rank() == 1) {
      // Waits for rank 0 in a call of its own.
      std::vector<uint8_t> data(8);
      return std::string(mine.Receive(absl::MakeSpan(data), 0).ToString());
    }
    std::thread aborter;
    if (mine.rank() == 0) {
      aborter = std::thread(
          [&mine] { mine.Abort(absl::CancelledError("no more work")); });
    }
    const absl::Status first = mine.AllReduceSum(absl::MakeSpan(values));
    const absl::Status second = mine.AllReduceSum(absl::MakeSpan(values));
    if (aborter.joinable()) aborter.join();
    if (first != second) return std::string("two reasons");
    return std::string(first.ToString());
  });
  EXPECT_EQ(said[0], "CANCELLED: no more work");
  EXPECT_THAT(said[1], StartsWith("UNAVAILABLE: "));
  EXPECT_THAT(said[2], StartsWith("UNAVAILABLE: "));
  if (GetParam() != TestKind::kGloo) {
    EXPECT_THAT(said[1], HasSubstr("rank 0 ended the group: no more work"));
  }
}

TEST_P(FaultTest, AbortBetweenCallsFailsTheNextOne) {
  const auto said = RunRanks(group(2), [](Group& mine) {
    std::vector<int64_t> values(576);
    HEADWISE_RANK_OK(mine.AllReduceSum(absl::MakeSpan(values)));
    if (mine.rank() == 0) mine.Abort(absl::OkStatus());
    const absl::Status status = mine.AllReduceSum(absl::MakeSpan(values));
    return std::string(status.ToString());
  });
  EXPECT_THAT(said, Each(StartsWith("UNAVAILABLE: ")));
}

TEST_P(FaultTest, RankThatLeavesIsUnavailable) {
  const auto said = RunRanks(group(3), [](Group& mine) {
    std::vector<int64_t> values(576, 1);
    HEADWISE_RANK_OK(mine.AllReduceSum(absl::MakeSpan(values)));
    // The group of rank 1 goes when its body returns.
    if (mine.rank() == 1) return std::string();
    return std::string(mine.AllReduceSum(absl::MakeSpan(values)).ToString());
  });
  EXPECT_EQ(said[1], "");
  EXPECT_THAT(said[0], StartsWith("UNAVAILABLE: "));
  EXPECT_THAT(said[2], StartsWith("UNAVAILABLE: "));
}

// Ranks 1 and 2 stay in the group, silently, until rank 0 has spoken.
TEST_P(FaultTest, MissingRanksAreNamedAtTheDeadline) {
  const TestGroup three = group(3, absl::Milliseconds(200));
  std::atomic<bool> is_over{false};  // seen by threads; processes are killed
  const RankBody body = [&is_over](Group& mine) {
    if (mine.rank() > 0) {
      while (!is_over.load()) absl::SleepFor(absl::Milliseconds(1));
      return std::string();
    }
    std::vector<int64_t> values(576);
    const absl::Status status = mine.AllReduceSum(absl::MakeSpan(values));
    is_over.store(true);
    return std::string(status.ToString());
  };
  std::string said;
  if (GetParam() == TestKind::kInProcess) {
    said = RunRanks(three, body)[0];
  } else {
    RankProcesses ranks(three, body);
    ASSERT_EQ(ranks.Form(), "");
    said = ranks.Answer(0);
  }
  EXPECT_THAT(said, AllOf(StartsWith("DEADLINE_EXCEEDED: "),
                          HasSubstr("for rank 1, 2 in epoch 7")));
}

TEST_P(FaultTest, DifferentCallsAreAnErrorOnAllRanks) {
  // Gloo does not tell what peers call, so there it takes the deadline.
  const absl::Duration timeout =
      GetParam() == TestKind::kGloo ? absl::Milliseconds(200) : kLong;
  const auto said = RunRanks(group(2, timeout), [](Group& mine) {
    std::vector<int64_t> values(576 + mine.rank());
    return std::string(mine.AllReduceSum(absl::MakeSpan(values)).ToString());
  });
  EXPECT_THAT(said, Each(AnyOf(StartsWith("INTERNAL: ranks make different"),
                               StartsWith("DEADLINE_EXCEEDED: "),
                               StartsWith("UNAVAILABLE: "))));
  if (GetParam() != TestKind::kGloo) {
    EXPECT_THAT(said, testing::Contains(StartsWith("INTERNAL: ")));
  }
}

TEST_P(FaultTest, ReceiveOfAnotherSizeIsAnError) {
  const absl::Duration timeout =
      GetParam() == TestKind::kGloo ? absl::Milliseconds(200) : kLong;
  const auto said = RunRanks(group(2, timeout), [](Group& mine) {
    std::vector<uint8_t> data(100 + mine.rank());
    const absl::Status status = mine.rank() == 0
                                    ? mine.Send(data, 1)
                                    : mine.Receive(absl::MakeSpan(data), 0);
    return std::string(status.ToString());
  });
  for (const std::string& answer : said) EXPECT_NE(answer, "OK");
}

TEST_P(FaultTest, WrongArgumentsEndTheGroup) {
  const auto said = RunRanks(group(2), [](Group& mine) {
    std::vector<uint8_t> data(8);
    std::vector<uint8_t> all(15);
    if (mine.rank() == 1) {
      return std::string(mine.Broadcast(absl::MakeSpan(data), 1).ToString());
    }
    const absl::Status wrong = mine.AllGather(data, absl::MakeSpan(all));
    const absl::Status later = mine.Broadcast(absl::MakeSpan(data), 1);
    if (wrong != later) return std::string("the first reason was lost");
    return std::string(wrong.ToString());
  });
  EXPECT_THAT(said[0], AllOf(StartsWith("INVALID_ARGUMENT: "),
                             HasSubstr("8 bytes on 2 ranks into 15 bytes")));
  EXPECT_THAT(said[1], AnyOf(StartsWith("UNAVAILABLE: "), "OK"));
}

TEST_P(FaultTest, RootsAndPeersOutsideTheGroupAreRefused) {
  const auto said = RunRanks(group(1), [](Group& mine) {
    std::vector<uint8_t> data(8);
    return std::string(mine.Broadcast(absl::MakeSpan(data), 1).ToString());
  });
  EXPECT_THAT(said[0], StartsWith("INVALID_ARGUMENT: "));
  for (const int peer : {-1, 0, 2}) {
    const auto answers = RunRanks(group(1), [peer](Group& mine) {
      std::vector<uint8_t> data(8);
      return std::string(mine.Send(data, peer).ToString());
    });
    EXPECT_THAT(answers[0], StartsWith("INVALID_ARGUMENT: send to rank"));
    const auto others = RunRanks(group(1), [peer](Group& mine) {
      std::vector<uint8_t> data(8);
      return std::string(mine.Receive(absl::MakeSpan(data), peer).ToString());
    });
    EXPECT_THAT(others[0], StartsWith("INVALID_ARGUMENT: receive from rank"));
  }
}

std::vector<TestKind> KindsUnderTest() {
#if defined(__SANITIZE_THREAD__)
  return {TestKind::kInProcess};
#else
  return {TestKind::kInProcess, TestKind::kSharedMemory, TestKind::kGloo};
#endif
}

INSTANTIATE_TEST_SUITE_P(Kinds, FaultTest, testing::ValuesIn(KindsUnderTest()),
                         NameOf);

}  // namespace
}  // namespace headwise
