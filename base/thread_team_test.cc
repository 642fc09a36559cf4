#include "base/thread_team.h"

#include <sched.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

void Sleep(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

// Teams of one, of two, and of more threads than this machine has CPUs free.
class ThreadTeamTest : public testing::TestWithParam<int> {
 protected:
  ThreadTeamTest() : team_(GetParam(), {}) {}
  int num_threads() const { return GetParam(); }
  ThreadTeam team_;
};

// The slots are plain integers: a thread sanitizer sees whether Barrier and the
// end of Run order them.
TEST_P(ThreadTeamTest, BarrierShowsWhatEveryMemberWroteBefore) {
  std::vector<int> slots(num_threads(), 0);
  std::vector<int> num_wrong(num_threads(), 0);
  for (int run = 1; run <= 1000; ++run) {
    team_.Run([&](int member) {
      slots[member] = 2 * run;
      team_.Barrier();
      for (int slot : slots) num_wrong[member] += slot != 2 * run;
      team_.Barrier();
      slots[member] = 2 * run + 1;
    });
    for (int slot : slots) ASSERT_EQ(slot, 2 * run + 1);
  }
  for (int wrong : num_wrong) EXPECT_EQ(wrong, 0);
}

// Each member but the caller is late, so that a Run that does not wait for them
// returns too early.
TEST_P(ThreadTeamTest, RunReturnsWhenTheLastMemberHas) {
  for (int run = 0; run < 3; ++run) {
    std::vector<int> done(num_threads(), 0);
    team_.Run([&](int member) {
      if (member != 0) Sleep(2);
      ++done[member];
    });
    EXPECT_EQ(done, std::vector<int>(num_threads(), 1));
  }
}

// By then the others have gone from spinning and yielding to sleep.
TEST_P(ThreadTeamTest, SleepersAreWokenByRunAndByBarrier) {
  std::vector<int> count(num_threads(), 0);
  for (int run = 0; run < 3; ++run) {
    Sleep(10);
    team_.Run([&](int member) {
      if (member == run % num_threads()) Sleep(10);
      team_.Barrier();
      ++count[member];
    });
  }
  EXPECT_EQ(count, std::vector<int>(num_threads(), 3));
}

TEST_P(ThreadTeamTest, EndsWithoutARunAndRightAfterOne) {
  for (int i = 0; i < 50; ++i) {
    ThreadTeam idle(num_threads(), {});
    ThreadTeam used(num_threads(), {});
    int runs = 0;
    used.Run([&](int member) {
      if (member == 0) ++runs;
    });
    EXPECT_EQ(runs, 1);
  }
}

// On a thread of its own, since the caller is pinned for good.
TEST_P(ThreadTeamTest, MembersStayOnTheirCpus) {
  std::thread([&] {
    cpu_set_t ours;
    ASSERT_EQ(sched_getaffinity(0, sizeof(ours), &ours), 0);
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &ours)) cpus.push_back(cpu);
    }
    std::vector<int> wanted;
    for (int m = 0; m < num_threads(); ++m) {
      wanted.push_back(cpus[m % cpus.size()]);
    }
    ThreadTeam pinned(num_threads(), wanted);
    std::vector<int> found(num_threads(), -1);
    pinned.Run([&](int member) { found[member] = sched_getcpu(); });
    EXPECT_EQ(found, wanted);
  }).join();
}

TEST_P(ThreadTeamTest, ACpuThatIsNotThereIsNoError) {
  std::thread([&] {
    ThreadTeam pinned(num_threads(),
                      std::vector<int>(num_threads(), CPU_SETSIZE - 1));
    std::vector<int> done(num_threads(), 0);
    pinned.Run([&](int member) { ++done[member]; });
    EXPECT_EQ(done, std::vector<int>(num_threads(), 1));
  }).join();
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadTeamTest, testing::Values(1, 2, 7));

TEST(PartOfTest, PartsCoverTheWholeAndAreNearlyEqual) {
  for (int64_t total = 0; total <= 20; ++total) {
    for (int count = 1; count <= 9; ++count) {
      int64_t end = 0;
      for (int index = 0; index < count; ++index) {
        const PartRange part = PartOf(total, index, count);
        EXPECT_EQ(part.begin, end);
        EXPECT_GE(part.end - part.begin, total / count);
        EXPECT_LE(part.end - part.begin, (total + count - 1) / count);
        end = part.end;
      }
      EXPECT_EQ(end, total);
    }
  }
}

}  // namespace
}  // namespace headwise
