// How groups form, and what they refuse.

#include "worker/collectives/group_factory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "worker/collectives/host_segment.h"
#include "worker/collectives/in_process_group.h"
#include "worker/collectives/rendezvous.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

GroupSpec SpecOf(GroupKind kind, int rank, int world_size) {
  return {.kind = kind,
          .rank = rank,
          .world_size = world_size,
          .membership_epoch = 7,
          .options = {},
          .join_timeout = absl::Milliseconds(200)};
}

std::string MessageOf(const absl::StatusOr<std::unique_ptr<Group>>& group) {
  return std::string(group.status().ToString());
}

class GroupFactoryTest : public testing::TestWithParam<GroupKind> {
 protected:
  std::unique_ptr<PendingGroup> Prepare(int rank, int world_size) {
    auto pending = PendingGroup::Prepare(SpecOf(GetParam(), rank, world_size));
    EXPECT_TRUE(pending.ok()) << pending.status();
    return *std::move(pending);
  }
};

TEST_P(GroupFactoryTest, RefusesSpecsOutsideTheRanges) {
  std::vector<GroupSpec> specs;
  specs.push_back(SpecOf(GetParam(), 0, 0));
  specs.push_back(SpecOf(GetParam(), 0, kMaxWorldSize + 1));
  specs.push_back(SpecOf(GetParam(), -1, 2));
  specs.push_back(SpecOf(GetParam(), 2, 2));
  specs.push_back(SpecOf(GetParam(), 0, 2));
  specs.back().options.timeout = absl::ZeroDuration();
  specs.push_back(SpecOf(GetParam(), 0, 2));
  specs.back().join_timeout = -absl::Seconds(1);
  for (const GroupSpec& spec : specs) {
    EXPECT_TRUE(absl::IsInvalidArgument(PendingGroup::Prepare(spec).status()))
        << spec.rank << "/" << spec.world_size;
  }
}

TEST_P(GroupFactoryTest, EndpointIsPrintable) {
  const auto pending = Prepare(0, 3);
  for (const unsigned char c : pending->endpoint()) {
    EXPECT_TRUE(absl::ascii_isprint(c)) << int{c};
  }
}

#if !defined(__SANITIZE_THREAD__)  // absl::Mutex is not instrumented
TEST_P(GroupFactoryTest, FormsOverARendezvousStore) {
  InMemoryRendezvousStore store;
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.emplace_back([this, rank, &store] {
      GroupSpec spec = SpecOf(GetParam(), rank, 3);
      spec.join_timeout = absl::Seconds(60);
      auto group = FormGroup(spec, store);
      ASSERT_TRUE(group.ok()) << group.status();
      std::vector<int64_t> values = {1, rank};
      ASSERT_TRUE((*group)->AllReduceSum(absl::MakeSpan(values)).ok());
      EXPECT_EQ(values, (std::vector<int64_t>{3, 3}));
    });
  }
  for (std::thread& rank : ranks) rank.join();
}
#endif

TEST_P(GroupFactoryTest, RefusesEndpointsOfOtherGroups) {
  const struct {
    const char* what;
    const char* replaced;
  } cases[] = {
      {"headwise-group/1", "headwise-group/2"},
      {"rank=1", "rank=0"},
      {"world_size=2", "world_size=3"},
      {"epoch=7", "epoch=6"},
      {"kind=", "kind=x"},
  };
  for (const auto& c : cases) {
    const auto mine = Prepare(0, 2);
    const auto theirs = Prepare(1, 2);
    const std::string lie =
        absl::StrReplaceAll(theirs->endpoint(), {{c.what, c.replaced}});
    ASSERT_NE(lie, theirs->endpoint());
    const auto group = mine->Join({mine->endpoint(), lie});
    EXPECT_TRUE(absl::IsFailedPrecondition(group.status())) << group.status();
    EXPECT_THAT(MessageOf(group), HasSubstr("endpoint of rank 1"));
    EXPECT_THAT(MessageOf(group), HasSubstr(c.replaced));
  }
}

TEST_P(GroupFactoryTest, RefusesAWrongNumberOfEndpoints) {
  const auto mine = Prepare(0, 2);
  EXPECT_TRUE(absl::IsInvalidArgument(mine->Join({}).status()));
  const auto other = Prepare(0, 2);
  const std::string one = other->endpoint();
  EXPECT_TRUE(absl::IsInvalidArgument(other->Join({one, one, one}).status()));
}

TEST_P(GroupFactoryTest, JoinsOnce) {
  const auto mine = Prepare(0, 1);
  const std::vector<std::string> endpoints = {mine->endpoint()};
  EXPECT_TRUE(mine->Join(endpoints).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(mine->Join(endpoints).status()));
}

TEST_P(GroupFactoryTest, NamesTheRankThatDoesNotCome) {
  const auto mine = Prepare(0, 2);
  const auto theirs = Prepare(1, 2);
  const auto group = mine->Join({mine->endpoint(), theirs->endpoint()});
  EXPECT_TRUE(absl::IsDeadlineExceeded(group.status())) << group.status();
  EXPECT_THAT(MessageOf(group), HasSubstr("rank 1"));
}

// Flips, cuts and repeats bytes of a good endpoint. Nothing may crash, hang or
// be taken for a group.
TEST_P(GroupFactoryTest, SurvivesMutatedEndpoints) {
  std::mt19937_64 random(20240611);
  for (int trial = 0; trial < 300; ++trial) {
    SCOPED_TRACE(absl::StrCat("trial ", trial));
    GroupSpec spec = SpecOf(GetParam(), 1, 2);
    spec.join_timeout = absl::Milliseconds(5);
    auto mine = PendingGroup::Prepare(spec);
    ASSERT_TRUE(mine.ok());
    std::string bad = absl::StrCat(
        "headwise-group/1 kind=",
        GetParam() == GroupKind::kGloo
            ? "gloo rank=0 world_size=2 epoch=7 at=-,127.0.0.1:1"
            : "shared-memory rank=0 world_size=2 epoch=7 at=x:1:2:3:4");
    for (uint64_t n = 1 + random() % 3; n > 0; --n) {
      // Not the address: a mutated one may be somebody's.
      const size_t end = std::min(bad.find("at="), bad.size());
      const size_t at = random() % std::max<size_t>(end, 1);
      switch (random() % 3) {
        case 0:
          bad[at] = static_cast<char>(random());
          break;
        case 1:
          bad.resize(at + 1);
          break;
        default:
          bad.insert(at, bad.substr(0, 1 + random() % 8));
      }
    }
    EXPECT_FALSE((*mine)->Join({bad, (*mine)->endpoint()}).ok()) << bad;
  }
}

std::set<std::string> NamesIn(const char* folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.insert(entry.path().filename());
  }
  return names;
}

// Also when a rank drops out between the phases, as one that is killed does.
TEST_P(GroupFactoryTest, LeavesNoFileBehind) {
  const std::set<std::string> before = NamesIn("/dev/shm");
  {
    const auto mine = Prepare(0, 2);
    EXPECT_EQ(NamesIn("/dev/shm"), before);
  }
  const auto descriptors = NamesIn("/proc/self/fd").size();
  {
    const auto mine = Prepare(0, 2);
    const auto theirs = Prepare(1, 2);
  }
  EXPECT_EQ(NamesIn("/proc/self/fd").size(), descriptors);
  EXPECT_EQ(NamesIn("/dev/shm"), before);
}

std::string NameOf(const testing::TestParamInfo<GroupKind>& p) {
  return p.param == GroupKind::kGloo ? "Gloo" : "SharedMemory";
}

std::vector<GroupKind> KindsUnderTest() {
#if defined(__SANITIZE_THREAD__)
  return {GroupKind::kSharedMemory};
#else
  return {GroupKind::kSharedMemory, GroupKind::kGloo};
#endif
}

INSTANTIATE_TEST_SUITE_P(Kinds, GroupFactoryTest,
                         testing::ValuesIn(KindsUnderTest()), NameOf);

// Rank 0's endpoint for two ranks over shared memory, with one part of where
// the segment is replaced: 0 host, 1 pid, 2 start time, 3 descriptor, 4 nonce.
class SharedMemoryJoinTest : public testing::Test {
 protected:
  std::string JoinWith(int part, const std::string& value) {
    const auto spec = [](int rank) {
      return SpecOf(GroupKind::kSharedMemory, rank, 2);
    };
    const auto first = PendingGroup::Prepare(spec(0));
    const auto second = PendingGroup::Prepare(spec(1));
    EXPECT_TRUE(first.ok() && second.ok());
    const std::string& endpoint = (*first)->endpoint();
    const size_t location = endpoint.find("at=") + 3;
    std::vector<std::string> parts =
        absl::StrSplit(endpoint.substr(location), ':');
    EXPECT_EQ(parts.size(), 5u);
    parts[part] = value;
    const std::string lie =
        absl::StrCat(endpoint.substr(0, location), absl::StrJoin(parts, ":"));
    return MessageOf((*second)->Join({lie, (*second)->endpoint()}));
  }
};

TEST_F(SharedMemoryJoinTest, WrongHostIsClear) {
  EXPECT_THAT(JoinWith(0, "elsewhere"),
              HasSubstr("FAILED_PRECONDITION: ranks 1 and 0 cannot share "
                        "memory: host "));
}

TEST_F(SharedMemoryJoinTest, ProcessThatIsGoneOrReplacedIsUnavailable) {
  EXPECT_THAT(JoinWith(1, "2000000000"), HasSubstr("UNAVAILABLE: process"));
  EXPECT_THAT(JoinWith(2, "1"), HasSubstr("UNAVAILABLE: process"));
}

TEST_F(SharedMemoryJoinTest, DescriptorOfSomethingElseIsRefused) {
  EXPECT_THAT(JoinWith(3, "999999"), HasSubstr("NOT_FOUND: opening /proc/"));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_THAT(JoinWith(3, absl::StrCat(ends[0])),
              HasSubstr("is not a sealed group segment"));
  close(ends[0]);
  close(ends[1]);
  // A file of the right size that its owner could shrink under us.
  FILE* file = tmpfile();
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(ftruncate(fileno(file), SegmentBytes({.world_size = 2})), 0);
  EXPECT_THAT(JoinWith(3, absl::StrCat(fileno(file))),
              HasSubstr("is not a sealed group segment"));
  fclose(file);
}

TEST_F(SharedMemoryJoinTest, SegmentOfAnotherAttemptIsRefused) {
  EXPECT_THAT(JoinWith(4, "12345"), HasSubstr("has nonce "));
}

TEST_F(SharedMemoryJoinTest, PeerThatDiesBeforeItJoinsIsNotWaitedFor) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  GroupSpec spec = SpecOf(GroupKind::kSharedMemory, 0, 2);
  spec.join_timeout = absl::Minutes(10);  // beyond the test's limit
  const auto first = PendingGroup::Prepare(spec);
  spec.rank = 1;
  const auto second = PendingGroup::Prepare(spec);
  ASSERT_TRUE(first.ok() && second.ok());
  const std::string dead = absl::StrReplaceAll(
      (*second)->endpoint(),
      {{absl::StrCat(":", getpid(), ":"), absl::StrCat(":", child, ":")}});
  ASSERT_NE(dead, (*second)->endpoint());
  EXPECT_THAT(MessageOf((*first)->Join({(*first)->endpoint(), dead})),
              HasSubstr("UNAVAILABLE: rank 1 has died before it joined"));
}

TEST_F(SharedMemoryJoinTest, MalformedNumbersAreRefused) {
  for (const int part : {1, 2, 3, 4}) {
    EXPECT_THAT(JoinWith(part, "-5"), HasSubstr("INVALID_ARGUMENT: "));
    EXPECT_THAT(JoinWith(part, ""), HasSubstr("INVALID_ARGUMENT: "));
  }
}

TEST(InProcessGroupTest, RefusesWorldSizesOutsideTheRange) {
  for (const int world_size : {-1, 0, kMaxWorldSize + 1}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(CreateInProcessGroups(world_size, 1).status()));
  }
  EXPECT_EQ(CreateInProcessGroups(kMaxWorldSize, 1)->size(), kMaxWorldSize);
}

#if !defined(__SANITIZE_THREAD__)  // absl::Mutex is not instrumented
TEST(RendezvousStoreTest, ValuesAreSetOnceAndAwaited) {
  InMemoryRendezvousStore store;
  const absl::Time now = Clock::Monotonic().Now();
  const auto missing = store.Get("a", now + absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(missing.status()));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("set a"));
  std::thread setter([&store] { EXPECT_TRUE(store.Set("a", "1").ok()); });
  EXPECT_EQ(*store.Get("a", now + absl::Seconds(60)), "1");
  setter.join();
  EXPECT_TRUE(absl::IsAlreadyExists(store.Set("a", "2")));
  EXPECT_EQ(*store.Get("a", now), "1");
}
#endif

}  // namespace
}  // namespace headwise
