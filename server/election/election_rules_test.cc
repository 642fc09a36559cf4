#include "server/election/election_rules.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

using Act = ElectionRules::Act;

constexpr absl::Duration kLease = absl::Seconds(8);
const absl::Time kStart = absl::UnixEpoch() + absl::Hours(1);

CampaignResult Won() {
  return {.won = true, .lease_id = 7, .lease = kLease, .first_epoch = 40};
}

TEST(ElectionRulesTest, SearchesAtOnceAndThenTenTimesALease) {
  ElectionRules rules(kLease);
  EXPECT_EQ(rules.RoleAt(kStart), ElectionRole::kSearching);
  EXPECT_EQ(rules.NextAct().act, Act::kCampaign);
  EXPECT_LE(rules.NextAct().at, kStart);
  rules.OnCampaign(kStart, absl::UnavailableError("no etcd"));
  EXPECT_EQ(rules.RoleAt(kStart), ElectionRole::kSearching);
  EXPECT_EQ(rules.NextAct().at, kStart + kLease / 10);
}

TEST(ElectionRulesTest, AStandbyKnowsWhoLeads) {
  ElectionRules rules(kLease);
  rules.OnCampaign(kStart, CampaignResult{.leader_address = "a:1"});
  EXPECT_EQ(rules.RoleAt(kStart), ElectionRole::kStandby);
  EXPECT_EQ(rules.leader_address(), "a:1");
  rules.OnCampaign(kStart, absl::UnavailableError("no etcd"));
  EXPECT_EQ(rules.leader_address(), "") << "it may be another one by now";
}

// etcd counts 8 s from some time after kStart; the last of them are not used.
TEST(ElectionRulesTest, ALeadEndsBeforeItsLeaseCan) {
  ElectionRules rules(kLease);
  rules.OnCampaign(kStart, Won());
  EXPECT_EQ(rules.first_epoch(), 40u);
  EXPECT_EQ(rules.RoleAt(kStart + absl::Milliseconds(6999)),
            ElectionRole::kLeader);
  EXPECT_EQ(rules.RoleAt(kStart + absl::Seconds(7)), ElectionRole::kSearching);
}

TEST(ElectionRulesTest, ARenewalCountsFromWhenItWasSent) {
  ElectionRules rules(kLease);
  rules.OnCampaign(kStart, Won());
  EXPECT_EQ(rules.NextAct().act, Act::kRenew);
  EXPECT_EQ(rules.NextAct().at, kStart + kLease / 5);
  rules.OnRenewal(kStart + absl::Seconds(2), kLease);
  EXPECT_EQ(rules.leads_until(), kStart + absl::Seconds(9));
}

TEST(ElectionRulesTest, WithoutEtcdItLeadsToTheEndAndThenRuns) {
  ElectionRules rules(kLease);
  rules.OnCampaign(kStart, Won());
  absl::Time now = kStart;
  int num_tries = 0;
  while (rules.NextAct().act == Act::kRenew) {
    now = rules.NextAct().at;
    ASSERT_EQ(rules.RoleAt(now), ElectionRole::kLeader);
    rules.OnRenewal(now, absl::DeadlineExceededError("frozen"));
    ++num_tries;
  }
  EXPECT_GE(num_tries, 5);
  EXPECT_EQ(rules.NextAct().at, kStart + absl::Seconds(7));
  EXPECT_EQ(rules.RoleAt(rules.NextAct().at), ElectionRole::kSearching);
}

TEST(ElectionRulesTest, ALeaseThatEtcdHasLostIsOverAtOnce) {
  ElectionRules rules(kLease);
  rules.OnCampaign(kStart, Won());
  const absl::Time now = kStart + absl::Seconds(2);
  rules.OnRenewal(now, absl::ZeroDuration());
  EXPECT_EQ(rules.RoleAt(now), ElectionRole::kSearching);
  EXPECT_EQ(rules.NextAct().act, Act::kCampaign);
  EXPECT_EQ(rules.NextAct().at, now);
}

// It was frozen: a renewal that was sent long ago is worth nothing now.
TEST(ElectionRulesTest, ALateAnswerDoesNotBringAnOldLeadBack) {
  ElectionRules rules(kLease);
  rules.OnCampaign(kStart, Won());
  rules.OnRenewal(kStart + absl::Seconds(2), kLease);
  EXPECT_NE(rules.RoleAt(kStart + absl::Seconds(30)), ElectionRole::kLeader);
}

}  // namespace
}  // namespace headwise
