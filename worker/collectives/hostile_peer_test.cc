// A rank against a peer that writes what it likes into the segment.
//
// The test plays rank 1 by hand. Run under AddressSanitizer it also shows that
// no value of the peer becomes an address.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "worker/collectives/host_segment.h"
#include "worker/collectives/process_identity.h"
#include "worker/collectives/segment_group.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

class HostilePeerTest : public testing::Test {
 protected:
  HostilePeerTest() {
    segment_ = *HostSegment::CreateInProcess(
        {.world_size = 2, .membership_epoch = 7, .sum_slot_bytes = 1024});
    const ProcessIdentity self = *OwnIdentity();
    EXPECT_TRUE(segment_->Claim(0, self).ok());
    EXPECT_TRUE(segment_->Claim(1, self).ok());
    group_ = std::make_unique<SegmentGroup>(
        segment_, 0, "in-process",
        GroupOptions{.timeout = absl::Milliseconds(100)});
  }
  RankState& peer() { return segment_->rank_state(1); }
  absl::Status AllReduce() {
    std::vector<int64_t> values(576, 1);
    return group_->AllReduceSum(absl::MakeSpan(values));
  }

  std::shared_ptr<HostSegment> segment_;
  std::unique_ptr<SegmentGroup> group_;
};

TEST_F(HostilePeerTest, RoundFromTheFutureIsRefused) {
  peer().published.store(kHuge);
  const absl::Status status = AllReduce();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 claims step"));
}

TEST_F(HostilePeerTest, OneRoundAheadIsAllowed) {
  // Without a valid tag the call fails, but not for the number of the round.
  peer().published.store(2);
  EXPECT_THAT(std::string(AllReduce().message()),
              HasSubstr("ranks make different calls"));
}

TEST_F(HostilePeerTest, TwoRoundsAheadAreRefused) {
  peer().published.store(3);
  EXPECT_THAT(std::string(AllReduce().message()), HasSubstr("claims step 3"));
}

TEST_F(HostilePeerTest, StartedSumOfAnotherSizeIsRefused) {
  std::vector<int64_t> values(100, 1);
  ASSERT_TRUE(group_->StartSum(absl::MakeSpan(values)).ok());
  peer().started_sums.store(1);
  peer().sum_tags[0].store(kHuge);
  EXPECT_THAT(std::string(group_->FinishSum(absl::MakeSpan(values)).message()),
              HasSubstr("rank 1 started ffffffffffffffff"));
}

TEST_F(HostilePeerTest, StartedSumsFromTheFutureAreRefused) {
  std::vector<int64_t> values(100, 1);
  ASSERT_TRUE(group_->StartSum(absl::MakeSpan(values)).ok());
  peer().started_sums.store(5);
  EXPECT_THAT(std::string(group_->FinishSum(absl::MakeSpan(values)).message()),
              HasSubstr("claims step 5"));
}

TEST_F(HostilePeerTest, OnlyTwoSumsMayBeOpenAndNoneEndsUnstarted) {
  std::vector<int64_t> values(100, 1);
  for (int i = 0; i < kMaxStartedSums; ++i) {
    ASSERT_TRUE(group_->StartSum(absl::MakeSpan(values)).ok());
  }
  EXPECT_THAT(std::string(group_->StartSum(absl::MakeSpan(values)).message()),
              HasSubstr("2 started sums are open"));
}

TEST_F(HostilePeerTest, SumThatWasNotStartedCantBeFinished) {
  std::vector<int64_t> values(100, 1);
  EXPECT_THAT(std::string(group_->FinishSum(absl::MakeSpan(values)).message()),
              HasSubstr("no started sum is open"));
}

TEST_F(HostilePeerTest, AnotherCallIsRefused) {
  peer().published.store(1);
  peer().tags[0].store(kHuge);
  EXPECT_THAT(std::string(AllReduce().message()),
              HasSubstr("rank 1 ffffffffffffffff"));
}

TEST_F(HostilePeerTest, AborterOutsideTheGroupIsRefused) {
  segment_->header().aborted_by.store(3);
  const absl::Status status = AllReduce();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
}

TEST_F(HostilePeerTest, ReasonWithoutEndIsCutAndMadePrintable) {
  for (auto& c : peer().abort_reason) c.store('\x1b');
  peer().abort_code.store(12345);
  segment_->header().aborted_by.store(2);
  const absl::Status status = AllReduce();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(std::string(kMaxReasonBytes, '?')));
}

TEST_F(HostilePeerTest, PairCountersFromTheFutureAreRefused) {
  std::vector<uint8_t> data(10);
  peer().sent[0].store(kHuge);
  const absl::Status status = group_->Receive(absl::MakeSpan(data), 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 claims step"));
}

TEST_F(HostilePeerTest, AcknowledgementOfWhatWasNotSentIsRefused) {
  std::vector<uint8_t> data(10);
  peer().received[0].store(kHuge);
  const absl::Status status = group_->Send(data, 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 claims step"));
}

TEST_F(HostilePeerTest, MessageOfAnotherSizeIsRefused) {
  std::vector<uint8_t> data(10);
  peer().sent[0].store(1);
  peer().pair_tags[0].store(kHuge);
  const absl::Status status = group_->Receive(absl::MakeSpan(data), 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("receives 10 bytes"));
}

// Our own counters are in the segment too.
TEST_F(HostilePeerTest, ChangedCountersOfOursIndexNothing) {
  std::vector<uint8_t> data(3 * kPairSlotBytes);
  segment_->rank_state(0).sent[1].store(kHuge - 1);
  EXPECT_FALSE(group_->Send(data, 1).ok());
}

TEST_F(HostilePeerTest, ClaimOfATakenRankIsRefused) {
  const absl::Status status = segment_->Claim(1, *OwnIdentity());
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 was taken"));
}

// Random bytes over all that a peer may write, again and again.
TEST(HostileSegmentTest, RandomSegmentsNeverLeadOutOfBounds) {
  std::mt19937_64 random(20240611);
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE(testing::Message() << "trial " << trial);
    const auto segment = *HostSegment::CreateInProcess(
        {.world_size = 3, .sum_slot_bytes = 1024});
    const ProcessIdentity self = *OwnIdentity();
    for (int rank = 0; rank < 3; ++rank) {
      ASSERT_TRUE(segment->Claim(rank, self).ok());
    }
    SegmentGroup group(segment, 0, "in-process",
                       {.timeout = absl::Milliseconds(1)});
    auto* words = reinterpret_cast<uint64_t*>(&segment->rank_state(1));
    for (size_t i = 0; i < 2 * sizeof(RankState) / 8; ++i) {
      // Small numbers pass the first checks.
      words[i] = random() % 2 == 0 ? random() % 4 : random();
    }
    std::vector<int64_t> values(20000, 1);
    std::vector<uint8_t> bytes(3 * kPairSlotBytes);
    absl::Status status;
    switch (trial % 4) {
      case 3:
        values.resize(100);
        status = group.StartSum(absl::MakeSpan(values));
        if (status.ok()) status = group.FinishSum(absl::MakeSpan(values));
        break;
      case 0:
        status = group.AllReduceSum(absl::MakeSpan(values));
        break;
      case 1:
        status = group.Receive(absl::MakeSpan(bytes), 2);
        break;
      default:
        status = group.Send(bytes, 1);
    }
    EXPECT_FALSE(status.ok());
  }
}

// What OpenShared refuses although the descriptor is a sealed segment.
TEST(SegmentHeaderTest, OtherWorldSizeEpochVersionAndMagicAreRefused) {
  const SegmentSpec spec = {
      .world_size = 2, .membership_epoch = 7, .nonce = 99};
  const ProcessIdentity self = *OwnIdentity();
  const auto segment = *HostSegment::CreateShared(spec);
  const auto open_as = [&](const SegmentSpec& wanted) {
    const auto opened =
        HostSegment::OpenShared(self, segment->descriptor(), wanted);
    return std::string(opened.status().message());
  };
  EXPECT_EQ(open_as(spec), "");
  SegmentSpec other = spec;
  other.world_size = 3;
  EXPECT_THAT(open_as(other), HasSubstr("is not a sealed group segment"));
  other = spec;
  other.membership_epoch = 8;
  EXPECT_THAT(open_as(other), HasSubstr("membership epoch 7, not 8"));
  segment->header().world_size = 1000000;
  EXPECT_THAT(open_as(spec), HasSubstr("world size 1000000, not 2"));
  segment->header().version = 9;
  EXPECT_THAT(open_as(spec), HasSubstr("version 9, not 2"));
  segment->header().magic = 0;
  EXPECT_THAT(open_as(spec), HasSubstr("magic 0, not "));
}

}  // namespace
}  // namespace headwise
