// One body for every kind of group: what collectives compute.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/collectives/rank_runner.h"

namespace headwise {
namespace {

// The last is many slots and pieces, and no multiple of a rank's share.
constexpr int64_t kSizes[] = {0, 1, 7, 576, 4096, 4097, 100003, 1 << 20};

// A value per (seed, rank, index), over all 64 bits, so that sums wrap.
int64_t ValueAt(uint64_t seed, int rank, int64_t index) {
  uint64_t z = seed * 0x9e3779b97f4a7c15 + rank * 0xd1b54a32d192ed03 + index;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<int64_t>(z ^ (z >> 31));
}

std::vector<int64_t> ValuesOf(uint64_t seed, int rank, int64_t n) {
  std::vector<int64_t> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = ValueAt(seed, rank, i);
  return values;
}

std::vector<uint8_t> BytesOf(uint64_t seed, int rank, int64_t n) {
  std::vector<uint8_t> bytes(n);
  for (int64_t i = 0; i < n; ++i) {
    bytes[i] = static_cast<uint8_t>(ValueAt(seed, rank, i));
  }
  return bytes;
}

uint64_t SumAt(uint64_t seed, int world_size, int64_t index) {
  uint64_t sum = 0;
  for (int r = 0; r < world_size; ++r) {
    sum += static_cast<uint64_t>(ValueAt(seed, r, index));
  }
  return sum;
}

std::string CheckIntegerSum(Group& group, uint64_t seed, int64_t n) {
  std::vector<int64_t> values = ValuesOf(seed, group.rank(), n);
  HEADWISE_RANK_OK(group.AllReduceSum(absl::MakeSpan(values)));
  for (int64_t i = 0; i < n; ++i) {
    if (static_cast<uint64_t>(values[i]) !=
        SumAt(seed, group.world_size(), i)) {
      return absl::StrCat("sum of ", n, " values is wrong at ", i, ": ",
                          values[i], ", seed ", seed);
    }
  }
  return "";
}

// Two sums open at once, as often as given; sum k has n + k values.
std::string CheckStartedSums(Group& group, uint64_t seed, int64_t n,
                             int count) {
  std::vector<std::vector<int64_t>> sums;
  for (int k = 0; k < count; ++k) {
    sums.push_back(ValuesOf(seed + k, group.rank(), n + k));
    HEADWISE_RANK_OK(group.StartSum(absl::MakeSpan(sums[k])));
    if (k > 0) HEADWISE_RANK_OK(group.FinishSum(absl::MakeSpan(sums[k - 1])));
  }
  HEADWISE_RANK_OK(group.FinishSum(absl::MakeSpan(sums.back())));
  for (int k = 0; k < count; ++k) {
    for (int64_t i = 0; i < n + k; ++i) {
      if (static_cast<uint64_t>(sums[k][i]) !=
          SumAt(seed + k, group.world_size(), i)) {
        return absl::StrCat("started sum ", k, " of ", n, " is wrong at ", i);
      }
    }
  }
  return "";
}

// fp32 sums are defined as those in rank order, on all ranks.
std::string CheckFloatSum(Group& group, uint64_t seed, int64_t n) {
  const auto value_at = [seed](int rank, int64_t i) {
    return static_cast<float>(ValueAt(seed, rank, i)) * 0x1p-60f;
  };
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = value_at(group.rank(), i);
  HEADWISE_RANK_OK(group.AllReduceSum(absl::MakeSpan(values)));
  for (int64_t i = 0; i < n; ++i) {
    float wanted = value_at(0, i);
    for (int r = 1; r < group.world_size(); ++r) wanted += value_at(r, i);
    if (values[i] != wanted) {
      return absl::StrCat("float sum of ", n, " values is wrong at ", i,
                          ", seed ", seed);
    }
  }
  return "";
}

std::string CheckGather(Group& group, uint64_t seed, int64_t n) {
  const std::vector<uint8_t> mine = BytesOf(seed, group.rank(), n);
  std::vector<uint8_t> all(n * group.world_size());
  HEADWISE_RANK_OK(group.AllGather(mine, absl::MakeSpan(all)));
  for (int r = 0; r < group.world_size(); ++r) {
    const std::vector<uint8_t> theirs = BytesOf(seed, r, n);
    if (!std::equal(theirs.begin(), theirs.end(), all.begin() + r * n)) {
      return absl::StrCat(n, " bytes gathered from rank ", r, " are wrong");
    }
  }
  return "";
}

std::string CheckBroadcast(Group& group, uint64_t seed, int64_t n, int root) {
  std::vector<uint8_t> data = BytesOf(seed, group.rank(), n);
  HEADWISE_RANK_OK(group.Broadcast(absl::MakeSpan(data), root));
  if (data == BytesOf(seed, root, n)) return "";
  return absl::StrCat("broadcast of ", n, " bytes from ", root, " is wrong");
}

// Every rank sends to the next; even ranks send first, and where the number of
// ranks is odd, the last one (even, too) waits for rank 0, which ends the
// chain.
std::string CheckRing(Group& group, uint64_t seed, int64_t n) {
  const int w = group.world_size();
  if (w == 1) return "";
  const int next = (group.rank() + 1) % w;
  const int previous = (group.rank() + w - 1) % w;
  const std::vector<uint8_t> mine = BytesOf(seed, group.rank(), n);
  std::vector<uint8_t> theirs(n);
  const bool sends_first = group.rank() % 2 == 0;
  if (sends_first) HEADWISE_RANK_OK(group.Send(mine, next));
  HEADWISE_RANK_OK(group.Receive(absl::MakeSpan(theirs), previous));
  if (!sends_first) HEADWISE_RANK_OK(group.Send(mine, next));
  if (theirs == BytesOf(seed, previous, n)) return "";
  return absl::StrCat(n, " bytes received from ", previous, " are wrong");
}

class GroupTest : public testing::TestWithParam<std::tuple<TestKind, int>> {
 protected:
  // A loaded machine may be slow: no test here is about the deadline.
  TestGroup group() const {
    return {.kind = std::get<0>(GetParam()),
            .world_size = std::get<1>(GetParam()),
            .options = {.timeout = absl::Seconds(120),
                        .started_sum_bytes = 8 * 1000}};
  }
  // Runs `check` for every size in one group.
  template <typename Check>
  void ExpectForAllSizes(const Check& check) {
    const auto said = RunRanks(group(), [&check](Group& mine) {
      std::string wrong;
      for (const int64_t n : kSizes) {
        if (wrong.empty()) wrong = check(mine, /*seed=*/n + 11, n);
      }
      return wrong;
    });
    EXPECT_EQ(said, std::vector<std::string>(group().world_size, ""));
  }
};

TEST_P(GroupTest, KnowsItsPlace) {
  const std::vector<std::string> said = RunRanks(group(), [](Group& mine) {
    return absl::StrCat(mine.kind(), " ", mine.rank(), "/", mine.world_size(),
                        " epoch ", mine.membership_epoch());
  });
  const char* kinds[] = {"in-process", "shared-memory", "gloo"};
  for (int r = 0; r < group().world_size; ++r) {
    EXPECT_EQ(said[r], absl::StrCat(kinds[static_cast<int>(group().kind)], " ",
                                    r, "/", group().world_size, " epoch 7"));
  }
}

TEST_P(GroupTest, IntegerSumIsExactModulo2To64) {
  ExpectForAllSizes(CheckIntegerSum);
}

// The last of the smaller ones is too large to be sent early.
TEST_P(GroupTest, StartedSumsAreThoseOfAllReduce) {
  for (const int64_t n : {1, 576, 991, 100003}) {
    const auto said = RunRanks(group(), [n](Group& mine) {
      return CheckStartedSums(mine, /*seed=*/n, n, /*count=*/20);
    });
    EXPECT_EQ(said, std::vector<std::string>(group().world_size, ""));
  }
}

TEST_P(GroupTest, FloatSumIsInRankOrderOnAllRanks) {
  ExpectForAllSizes(CheckFloatSum);
}

TEST_P(GroupTest, AllGatherOrdersByRank) { ExpectForAllSizes(CheckGather); }

TEST_P(GroupTest, BroadcastReachesAllFromEachRoot) {
  ExpectForAllSizes([](Group& mine, uint64_t seed, int64_t n) {
    std::string wrong;
    for (int root = 0; root < mine.world_size(); ++root) {
      if (wrong.empty()) wrong = CheckBroadcast(mine, seed, n, root);
    }
    return wrong;
  });
}

TEST_P(GroupTest, SendAndReceiveAroundTheRing) { ExpectForAllSizes(CheckRing); }

// All ranks draw the same calls: kinds, sizes and roots in random order, so
// that every reuse of a slot by another kind of call occurs.
TEST_P(GroupTest, CallsMayFollowEachOtherInAnyOrder) {
#if defined(__SANITIZE_THREAD__)
  const int num_calls = 300;
#else
  const bool is_gloo = group().kind == TestKind::kGloo;
  const bool is_small = group().world_size <= 3;
  const int num_calls = is_small && !is_gloo ? 10000 : 300;
#endif
  const auto said = RunRanks(group(), [num_calls](Group& mine) {
    std::mt19937_64 random(20240611);
    std::string wrong;
    for (int call = 0; call < num_calls && wrong.empty(); ++call) {
      const uint64_t kind = random() % 16;
      // One in 64 crosses the size of a slot.
      const int64_t n = random() % 64 == 0 ? 30000 : random() % 1000;
      const int root = static_cast<int>(random() % mine.world_size());
      if (kind < 7) wrong = CheckIntegerSum(mine, call, n);
      if (kind == 7 || kind == 8) {
        wrong = CheckStartedSums(mine, call, n, /*count=*/2);
      }
      if (kind == 9) wrong = CheckFloatSum(mine, call, n);
      if (kind == 10 || kind == 11) wrong = CheckGather(mine, call, 8 * n);
      if (kind == 12 || kind == 13) {
        wrong = CheckBroadcast(mine, call, 8 * n, root);
      }
      if (kind >= 14) wrong = CheckRing(mine, call, 8 * n);
    }
    return wrong;
  });
  EXPECT_EQ(said, std::vector<std::string>(group().world_size, ""));
}

std::vector<TestKind> KindsUnderTest() {
#if defined(__SANITIZE_THREAD__)
  // The library is not instrumented: its locks would be invisible.
  return {TestKind::kInProcess, TestKind::kSharedMemory};
#else
  return {TestKind::kInProcess, TestKind::kSharedMemory, TestKind::kGloo};
#endif
}

std::string NameOf(const testing::TestParamInfo<std::tuple<TestKind, int>>& p) {
  const char* names[] = {"InProcess", "SharedMemory", "Gloo"};
  return absl::StrCat(names[static_cast<int>(std::get<0>(p.param))],
                      std::get<1>(p.param));
}

INSTANTIATE_TEST_SUITE_P(Kinds, GroupTest,
                         testing::Combine(testing::ValuesIn(KindsUnderTest()),
                                          testing::Values(1, 2, 3, 4, 7)),
                         NameOf);

}  // namespace
}  // namespace headwise
