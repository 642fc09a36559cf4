// The calls of the election against a real etcd.

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/election/elector.h"
#include "tests/support/etcd_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kLease = absl::Seconds(2);
constexpr absl::Duration kPatience = absl::Seconds(30);

class ElectionTest : public testing::Test {
 protected:
  void Start(size_t num_members) {
    auto etcd = EtcdCluster::Start(num_members);
    ASSERT_TRUE(etcd.ok()) << etcd.status();
    etcd_ = *std::move(etcd);
  }
  EtcdElectionOptions Options() {
    EtcdElectionOptions options;
    options.endpoints = absl::StrSplit(etcd_->endpoints(), ',');
    options.lease = kLease;
    return options;
  }

  std::unique_ptr<EtcdCluster> etcd_;
};

TEST_F(ElectionTest, OneLeadsTheOtherLearnsWhoAndEpochsGrow) {
  Start(1);
  ASSERT_FALSE(HasFatalFailure());
  EtcdElection a(Options());
  EtcdElection b(Options());
  const auto first = a.Campaign("a:1", 1000);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(first->won);
  EXPECT_EQ(first->lease, kLease);
  EXPECT_EQ(first->first_epoch, 1000u);
  const auto second = b.Campaign("b:1", 1000);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_FALSE(second->won);
  EXPECT_EQ(second->leader_address, "a:1");
  EXPECT_EQ(a.Renew(first->lease_id).value_or(absl::ZeroDuration()), kLease);
  ASSERT_TRUE(a.Resign(first->lease_id).ok());
  EXPECT_EQ(a.Renew(first->lease_id).value_or(kLease), absl::ZeroDuration());
  const auto third = b.Campaign("b:1", 1000);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(third->won);
  EXPECT_GT(third->first_epoch, first->first_epoch);
}

TEST_F(ElectionTest, ClustersOfOtherNamesDoNotMeet) {
  Start(1);
  ASSERT_FALSE(HasFatalFailure());
  EtcdElectionOptions other = Options();
  other.cluster = "other";
  EXPECT_TRUE(EtcdElection(Options()).Campaign("a:1", 1)->won);
  EXPECT_TRUE(EtcdElection(other).Campaign("b:1", 1)->won);
}

TEST_F(ElectionTest, AMemberThatIsKilledCostsOneCall) {
  Start(3);
  ASSERT_FALSE(HasFatalFailure());
  EtcdElection election(Options());
  const auto won = election.Campaign("a:1", 1);
  ASSERT_TRUE(won.ok()) << won.status();
  etcd_->member(0).Signal(SIGKILL);
  // A new leader of etcd's is elected meanwhile, if it was that one.
  EXPECT_TRUE(WaitUntil(
      [&] {
        return election.Renew(won->lease_id).value_or(absl::ZeroDuration()) ==
               kLease;
      },
      kPatience));
}

// What an elector tells, in order: "lead", "follow a:1".
class Listener {
 public:
  Listener(EtcdElectionOptions etcd, std::string address) {
    ElectorOptions options;
    options.etcd = std::move(etcd);
    options.address = std::move(address);
    options.on_lead = [this](uint64_t epoch) {
      absl::MutexLock lock(&mutex_);
      epoch_ = epoch;
      events_.push_back("lead");
    };
    options.on_follow = [this](const std::string& leader) {
      absl::MutexLock lock(&mutex_);
      events_.push_back("follow " + leader);
    };
    options.log = [this](const std::string& line) {
      absl::MutexLock lock(&mutex_);
      log_ += line + "\n";
    };
    elector_ = std::make_unique<Elector>(std::move(options));
  }
  bool WaitFor(const std::string& event) {
    absl::MutexLock lock(&mutex_);
    const auto heard = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !events_.empty() && events_.back() == event;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&heard), kPatience);
  }
  Elector& elector() { return *elector_; }
  uint64_t epoch() {
    absl::MutexLock lock(&mutex_);
    return epoch_;
  }
  std::string log() {
    absl::MutexLock lock(&mutex_);
    return log_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::string log_ ABSL_GUARDED_BY(mutex_);
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Elector> elector_;
};

TEST_F(ElectionTest, AnElectorThatStopsHandsTheLeadOver) {
  Start(1);
  ASSERT_FALSE(HasFatalFailure());
  Listener a(Options(), "a:1");
  ASSERT_TRUE(a.WaitFor("lead")) << a.log();
  EXPECT_TRUE(a.elector().Leads());
  Listener b(Options(), "b:1");
  ASSERT_TRUE(b.WaitFor("follow a:1")) << b.log();
  EXPECT_FALSE(b.elector().Leads());
  a.elector().Stop();
  EXPECT_FALSE(a.elector().Leads());
  ASSERT_TRUE(b.WaitFor("lead")) << b.log();
  EXPECT_GT(b.epoch(), a.epoch());
}

TEST_F(ElectionTest, ALeaderWithoutEtcdStopsInTimeAndLeadsAgain) {
  Start(1);
  ASSERT_FALSE(HasFatalFailure());
  Listener a(Options(), "a:1");
  ASSERT_TRUE(a.WaitFor("lead")) << a.log();
  const absl::Time frozen = Clock::Monotonic().Now();
  etcd_->Signal(SIGSTOP);
  EXPECT_TRUE(WaitUntil([&] { return !a.elector().Leads(); }, kPatience));
  EXPECT_LT(Clock::Monotonic().Now() - frozen, kLease + absl::Seconds(3));
  ASSERT_TRUE(a.WaitFor("follow ")) << a.log();
  EXPECT_THAT(a.log(), HasSubstr("the lease is not renewed"));
  const uint64_t epoch = a.epoch();
  etcd_->Signal(SIGCONT);
  ASSERT_TRUE(a.WaitFor("lead")) << a.log();
  EXPECT_GT(a.epoch(), epoch);
}

TEST_F(ElectionTest, EtcdThatHasLostAllElectsAnewUnderALargerEpoch) {
  Start(1);
  ASSERT_FALSE(HasFatalFailure());
  Listener a(Options(), "a:1");
  ASSERT_TRUE(a.WaitFor("lead")) << a.log();
  const uint64_t epoch = a.epoch();
  const absl::Status wiped = etcd_->Wipe();
  ASSERT_TRUE(wiped.ok()) << wiped;
  EXPECT_TRUE(WaitUntil(
      [&] { return a.epoch() > epoch && a.elector().Leads(); }, kPatience))
      << a.log();
}

}  // namespace
}  // namespace headwise
