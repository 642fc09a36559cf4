// An election in etcd: the leader's key, which goes with its lease, and the
// counter of epochs, which stays.

#ifndef HEADWISE_SERVER_ELECTION_ETCD_ELECTION_H_
#define HEADWISE_SERVER_ELECTION_ETCD_ELECTION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "etcd/rpc.grpc.pb.h"
#include "server/election/election_rules.h"

namespace headwise {

// A lead may use so many before the next one's begin.
inline constexpr uint64_t kEpochsPerLead = uint64_t{1} << 20;

struct EtcdElectionOptions {
  std::vector<std::string> endpoints;  // host:port of etcd's members
  std::string cluster = "headwise";    // coordinators of one name elect one
  absl::Duration lease = absl::Seconds(5);  // whole seconds
  absl::Duration call_timeout = absl::Seconds(1);
};

// Not thread-safe; calls block for at most call_timeout, a campaign for three
// of them. After a failure the next call asks the next member. Errors:
// Unavailable or DeadlineExceeded, with etcd's words and the member's address;
// DataLoss: a key holds what no coordinator has written.
//
//   /headwise/CLUSTER/leader  the leader's address, under its lease
//   /headwise/CLUSTER/epoch   the first epoch that no leader has had, decimal
class EtcdElection {
 public:
  explicit EtcdElection(EtcdElectionOptions options);

  // Takes the lead if nobody has it. `address`: where clients and workers find
  // this coordinator. `min_epoch`: of the epochs that this lead begins with;
  // for when etcd has lost its counter.
  absl::StatusOr<CampaignResult> Campaign(const std::string& address,
                                          uint64_t min_epoch);
  // How long the lease lasts now; zero: etcd has none of that id.
  absl::StatusOr<absl::Duration> Renew(int64_t lease_id);
  // Gives the lead up at once, if etcd can be asked.
  absl::Status Resign(int64_t lease_id);

 private:
  struct Seen {
    std::string leader;  // empty: none
    uint64_t epoch = 0;
    int64_t epoch_revision = 0;
  };

  template <typename Stub, typename Call>
  absl::Status Ask(Call call);
  absl::StatusOr<Seen> Look();
  absl::StatusOr<bool> Take(const std::string& address, int64_t lease_id,
                            const Seen& seen, uint64_t first_epoch);

  const EtcdElectionOptions options_;
  const std::string leader_key_;
  const std::string epoch_key_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;  // by endpoint
  size_t endpoint_ = 0;                                   // to be asked next
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ELECTION_ETCD_ELECTION_H_
