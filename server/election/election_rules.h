// Whether this coordinator leads, and what it is to ask of etcd next: times in,
// decisions out.

#ifndef HEADWISE_SERVER_ELECTION_ELECTION_RULES_H_
#define HEADWISE_SERVER_ELECTION_ELECTION_RULES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace headwise {

// kSearching: nothing is known of any leader, or not any more.
enum class ElectionRole { kSearching, kStandby, kLeader };

// What a campaign came to: the lead, or who has it.
struct CampaignResult {
  bool won = false;
  int64_t lease_id = 0;        // won
  absl::Duration lease;        // won: how long it lasts
  uint64_t first_epoch = 0;    // won: no leader before had one as large
  std::string leader_address;  // not won
};

// A lead lasts as long as its lease, and a lease is believed in for less than
// etcd does: its time is counted from when the request for it was sent, which
// is before etcd began to count, and an eighth of it is left out, for clocks
// that run differently and for orders that are on their way. So the old leader
// is silent before there can be a new one. All times are of one monotonic
// clock; a process that was frozen sees by them that its lease is over.
//
// Plain state: no clock, no thread.
class ElectionRules {
 public:
  enum class Act { kCampaign, kRenew };
  struct Next {
    Act act = Act::kCampaign;
    absl::Time at = absl::InfinitePast();
  };

  // `lease`: what is asked for; 1 s or more.
  explicit ElectionRules(absl::Duration lease) : lease_(lease) {}

  // A standby looks ten times in the time of a lease; a leader renews it five
  // times.
  Next NextAct() const { return next_; }

  // `sent_at`: when the lease was asked for, or the campaign began.
  void OnCampaign(absl::Time sent_at,
                  const absl::StatusOr<CampaignResult>& result);
  // `lease`: how long it lasts from now on; zero: etcd knows no such lease.
  void OnRenewal(absl::Time sent_at,
                 const absl::StatusOr<absl::Duration>& lease);

  ElectionRole RoleAt(absl::Time now) const;
  // Of a leader, or of one that was.
  absl::Time leads_until() const { return leads_until_; }
  int64_t lease_id() const { return lease_id_; }
  uint64_t first_epoch() const { return first_epoch_; }
  const std::string& leader_address() const { return leader_address_; }

 private:
  void Forget();

  const absl::Duration lease_;
  Next next_;
  absl::Time leads_until_ = absl::InfinitePast();
  int64_t lease_id_ = 0;
  uint64_t first_epoch_ = 0;
  std::string leader_address_;  // empty: nobody is known
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ELECTION_ELECTION_RULES_H_
