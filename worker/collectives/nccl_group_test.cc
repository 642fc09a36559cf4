// A group of GPUs without one: NCCL is a fake that records its calls.

#include "worker/collectives/nccl_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/collectives/fake_nccl.h"

namespace headwise {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(120);
constexpr int64_t kPieceBytes = 1024;
constexpr uint64_t kEpoch = 7;

GroupSpec SpecOf(int rank, int world_size, absl::Duration timeout) {
  return {.kind = GroupKind::kNccl,
          .rank = rank,
          .world_size = world_size,
          .membership_epoch = kEpoch,
          .options = {.timeout = timeout},
          .join_timeout = timeout};
}

// Opens the rank's communicator, once.
NcclOpener OpenerOf(FakeNccl& nccl, int rank, int version = 22809) {
  return [&nccl, rank, version](int64_t) { return nccl.Open(rank, version); };
}

using Body = std::function<absl::Status(Group&)>;

// What each rank's Prepare, Join and body ended with; a rank whose Prepare
// failed leaves nothing for the others to join.
std::vector<absl::Status> EndsOf(FakeNccl& nccl, int world_size,
                                 absl::Duration timeout, const Body& body) {
  std::vector<absl::Status> ends(world_size);
  std::vector<std::unique_ptr<PendingGroup>> pending(world_size);
  std::vector<std::string> endpoints(world_size);
  for (int rank = 0; rank < world_size; ++rank) {
    auto mine = PrepareNcclGroup(SpecOf(rank, world_size, timeout),
                                 OpenerOf(nccl, rank));
    if (!mine.ok()) return {mine.status()};
    endpoints[rank] = (*mine)->endpoint();
    pending[rank] = *std::move(mine);
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      const auto group = pending[rank]->Join(endpoints);
      ends[rank] = group.ok() ? body(**group) : group.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ends;
}

absl::Status Wrong(const char* what) { return absl::DataLossError(what); }

absl::Status CheckSums(Group& group, int64_t num_values) {
  std::vector<int64_t> values(num_values);
  std::vector<float> floats(num_values);
  for (int64_t i = 0; i < num_values; ++i) {
    values[i] = (int64_t{1} << 62) + i * (group.rank() + 1);
    floats[i] = static_cast<float>(i % 100 + group.rank());
  }
  std::vector<int64_t> on_device = values;
  HEADWISE_RETURN_IF_ERROR(group.AllReduceSum(absl::MakeSpan(values)));
  HEADWISE_RETURN_IF_ERROR(group.SumOnDevice(on_device.data(), num_values));
  if (on_device != values) return Wrong("sum on the device");
  HEADWISE_RETURN_IF_ERROR(group.AllReduceSum(absl::MakeSpan(floats)));
  const int w = group.world_size();
  const int rank_sum = w * (w - 1) / 2;
  for (int64_t i = 0; i < num_values; ++i) {
    const uint64_t wanted = (uint64_t{1} << 62) * w + i * (rank_sum + w);
    if (static_cast<uint64_t>(values[i]) != wanted) return Wrong("sum");
    if (floats[i] != static_cast<float>(i % 100 * w + rank_sum)) {
      return Wrong("sum of floats");
    }
  }
  return absl::OkStatus();
}

std::vector<uint8_t> BytesOf(int rank, int64_t num_bytes) {
  std::vector<uint8_t> bytes(num_bytes);
  for (int64_t i = 0; i < num_bytes; ++i) bytes[i] = i * 7 + rank * 31;
  return bytes;
}

absl::Status CheckMoves(Group& group, int64_t num_bytes) {
  const int w = group.world_size();
  const std::vector<uint8_t> mine = BytesOf(group.rank(), num_bytes);
  std::vector<uint8_t> all(num_bytes * w);
  HEADWISE_RETURN_IF_ERROR(group.AllGather(mine, absl::MakeSpan(all)));
  for (int r = 0; r < w; ++r) {
    const std::vector<uint8_t> theirs = BytesOf(r, num_bytes);
    if (!std::equal(theirs.begin(), theirs.end(),
                    all.begin() + r * num_bytes)) {
      return Wrong("all_gather");
    }
  }
  std::vector<uint8_t> data = mine;
  HEADWISE_RETURN_IF_ERROR(group.Broadcast(absl::MakeSpan(data), w - 1));
  if (data != BytesOf(w - 1, num_bytes)) return Wrong("broadcast");
  if (w == 1) return absl::OkStatus();
  // From rank 0 around to itself.
  if (group.rank() > 0) {
    HEADWISE_RETURN_IF_ERROR(
        group.Receive(absl::MakeSpan(data), group.rank() - 1));
    if (data != BytesOf(0, num_bytes)) return Wrong("receive");
  }
  if (group.rank() == 0) data = mine;
  HEADWISE_RETURN_IF_ERROR(group.Send(data, (group.rank() + 1) % w));
  if (group.rank() > 0) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(group.Receive(absl::MakeSpan(data), w - 1));
  return data == mine ? absl::OkStatus() : Wrong("ring");
}

absl::Status CheckAll(Group& group) {
  // Nothing, a part of a piece, one whole, and several.
  for (const int64_t n : {0, 5, 128, 300}) {
    HEADWISE_RETURN_IF_ERROR(CheckSums(group, n));
    HEADWISE_RETURN_IF_ERROR(CheckMoves(group, 8 * n));
  }
  return absl::OkStatus();
}

// Every kind of call.
absl::Status CheckSome(Group& group) {
  HEADWISE_RETURN_IF_ERROR(CheckSums(group, 5));
  return CheckMoves(group, 40);
}

int64_t StagingBytes(int world_size) { return (world_size + 1) * kPieceBytes; }

TEST(NcclGroupTest, ComputesWhatAGroupMust) {
  for (const int world_size : {1, 2, 3, 5, 8}) {
    FakeNccl nccl(world_size, StagingBytes(world_size));
    const auto ends = EndsOf(nccl, world_size, kLong, CheckAll);
    EXPECT_EQ(ends, std::vector<absl::Status>(world_size)) << world_size;
    EXPECT_EQ(nccl.misuses(), 0);
  }
}

// The rule of every failure: all ranks end with a named error, no call reaches
// a communicator that has failed, it is aborted, and the next group works.
void ExpectNamedEnds(const FakeNccl::Plan& plan) {
  constexpr int kWorldSize = 3;
  SCOPED_TRACE(absl::StrCat("call ", plan.call, " of rank ", plan.rank,
                            " fails as ", static_cast<int>(plan.failure)));
  FakeNccl nccl(kWorldSize, StagingBytes(kWorldSize), plan);
  const auto ends =
      EndsOf(nccl, kWorldSize, absl::Milliseconds(40), [](Group& group) {
        const absl::Status first = CheckSome(group);
        std::vector<int64_t> values(1);
        const absl::Status later = group.AllReduceSum(absl::MakeSpan(values));
        // What failed on its rank may have reached the others all the same.
        if (first.ok()) return later;
        return later == first ? first : Wrong("another reason");
      });
  for (const absl::Status& end : ends) {
    EXPECT_FALSE(end.ok());
    EXPECT_FALSE(absl::IsDataLoss(end)) << end;
    EXPECT_THAT(std::string(end.message()),
                testing::AnyOf(HasSubstr("failed"), HasSubstr(" waited ")));
  }
  EXPECT_EQ(nccl.misuses(), 0);
  EXPECT_EQ(nccl.calls(plan.rank).back(), "Abort");
  FakeNccl next(kWorldSize, StagingBytes(kWorldSize));
  EXPECT_EQ(EndsOf(next, kWorldSize, kLong, CheckAll),
            std::vector<absl::Status>(kWorldSize));
}

class NcclFailureTest : public testing::TestWithParam<FakeNccl::Failure> {};

TEST_P(NcclFailureTest, OfTheNthCallEndsInANamedErrorAndANewGroup) {
  FakeNccl undisturbed(3, StagingBytes(3));
  ASSERT_EQ(EndsOf(undisturbed, 3, kLong, CheckSome),
            std::vector<absl::Status>(3));
  const std::vector<std::string> calls = undisturbed.calls(1);
  // Its Abort is no call that fails. The first ones are of Prepare.
  const int num_calls =
      calls.size() - std::count(calls.begin(), calls.end(), "Abort");
  for (int call = 1; call <= num_calls; ++call) {
    ExpectNamedEnds({GetParam(), /*rank=*/1, call});
  }
  ExpectNamedEnds({GetParam(), /*rank=*/0, 2});  // CreateId
}

INSTANTIATE_TEST_SUITE_P(Kinds, NcclFailureTest,
                         testing::Values(FakeNccl::Failure::kAtOnce,
                                         FakeNccl::Failure::kLater,
                                         FakeNccl::Failure::kNever));

TEST(NcclGroupTest, ARankThatDoesNotComeIsADeadline) {
  FakeNccl nccl(2, StagingBytes(2));
  const auto mine =
      PrepareNcclGroup(SpecOf(0, 2, absl::Milliseconds(50)), OpenerOf(nccl, 0));
  const auto other =
      PrepareNcclGroup(SpecOf(1, 2, absl::Milliseconds(50)), OpenerOf(nccl, 1));
  ASSERT_TRUE(mine.ok() && other.ok());
  const auto group = (*mine)->Join({(*mine)->endpoint(), (*other)->endpoint()});
  EXPECT_TRUE(absl::IsDeadlineExceeded(group.status()));
  EXPECT_THAT(std::string(group.status().message()),
              HasSubstr("waited 50ms in joining in epoch 7"));
}

// As peer-to-peer copies through a bad bridge do.
TEST(NcclGroupTest, ASumThatIsWrongEndsTheJoin) {
  // After Version and Init of rank 1, and its copy to the device.
  FakeNccl nccl(2, StagingBytes(2), {FakeNccl::Failure::kWrong, 1, 4});
  for (const absl::Status& end : EndsOf(nccl, 2, kLong, CheckAll)) {
    EXPECT_TRUE(absl::IsDataLoss(end)) << end;
    EXPECT_THAT(std::string(end.message()),
                HasSubstr("of 2 added up over NCCL to 4 instead of 3"));
  }
}

TEST(NcclGroupTest, AbortFromAnotherThreadEndsAWait) {
  FakeNccl nccl(2, StagingBytes(2));
  const auto ends = EndsOf(nccl, 2, absl::Seconds(1), [](Group& group) {
    std::vector<int64_t> values(1);
    if (group.rank() == 1) return absl::OkStatus();
    std::thread aborter(
        [&group] { group.Abort(absl::CancelledError("no more work")); });
    const absl::Status status = group.AllReduceSum(absl::MakeSpan(values));
    aborter.join();
    return status;
  });
  EXPECT_EQ(ends[0], absl::CancelledError("no more work"));
}

TEST(NcclGroupTest, WrongArgumentsEndTheGroupByName) {
  FakeNccl nccl(1, StagingBytes(1));
  std::vector<uint8_t> data(8);
  for (const Body& body : std::vector<Body>{
           [&](Group& group) { return group.Send(data, 0); },
           [&](Group& group) { return group.Receive(absl::MakeSpan(data), 1); },
           [&](Group& group) {
             return group.Broadcast(absl::MakeSpan(data), -1);
           },
           [&](Group& group) {
             return group.AllGather(data, absl::MakeSpan(data).first(7));
           }}) {
    const auto ends = EndsOf(nccl, 1, kLong, body);
    EXPECT_TRUE(absl::IsInvalidArgument(ends[0])) << ends[0];
  }
}

// What rank 1, with NCCL's `version`, says to what rank 0 says of itself.
absl::Status JoinedWith(int version, absl::string_view location) {
  FakeNccl nccl(2, StagingBytes(2));
  const auto mine =
      PrepareNcclGroup(SpecOf(1, 2, kLong), OpenerOf(nccl, 1, version));
  if (!mine.ok()) return mine.status();
  return (*mine)
      ->Join({absl::StrCat(
                  "headwise-group/1 kind=nccl rank=0 world_size=2 epoch=7 at=",
                  location),
              (*mine)->endpoint()})
      .status();
}

TEST(NcclJoinTest, VersionsMustBeEqual) {
  const std::string id(256, '0');
  EXPECT_THAT(std::string(JoinedWith(22703, "22809," + id).message()),
              AllOf(HasSubstr("rank 0 has version 22809"),
                    HasSubstr("rank 1 has 22703")));
}

TEST(NcclJoinTest, WhatAnotherRankSaysMustBeAVersionAndAnId) {
  for (const std::string& location :
       {std::string(), std::string("22809"), std::string("22809,-"),
        std::string("22809,00"), "22809," + std::string(255, '0') + "g",
        "22809," + std::string(258, '0'), "x," + std::string(256, '0'),
        "22809," + std::string(256, '0') + ",0"}) {
    const absl::Status status = JoinedWith(22809, location);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << location << ": " << status;
  }
}

}  // namespace
}  // namespace headwise
