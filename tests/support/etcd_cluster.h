// Real etcd servers for tests.

#ifndef HEADWISE_TESTS_SUPPORT_ETCD_CLUSTER_H_
#define HEADWISE_TESTS_SUPPORT_ETCD_CLUSTER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/support/child_process.h"

namespace headwise {

// Members on free ports of this host, with their data in a folder of the test.
// Ended with the object.
class EtcdCluster {
 public:
  // Returns once it answers. NotFound names the package if etcd is missing.
  static absl::StatusOr<std::unique_ptr<EtcdCluster>> Start(size_t num_members);

  // "host:port,..." of all members.
  std::string endpoints() const;
  ChildProcess& member(size_t index) { return *members_[index].process; }
  size_t size() const { return members_.size(); }

  // All members at once.
  void Signal(int number);
  // Kills all members and starts them anew, at the same ports, empty.
  absl::Status Wipe();

 private:
  struct Member {
    int client_port = 0;
    int peer_port = 0;
    std::unique_ptr<ChildProcess> process;
  };

  EtcdCluster() = default;
  absl::Status StartMembers();
  absl::Status StartMember(size_t index);
  absl::Status AwaitAnswer();
  std::string Logs() const;

  TemporaryFolder folder_;
  int generation_ = 0;  // of the data
  std::vector<Member> members_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_ETCD_CLUSTER_H_
