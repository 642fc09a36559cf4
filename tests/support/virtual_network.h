// Hosts of their own on one machine: network namespaces on one bridge.

#ifndef HEADWISE_TESTS_SUPPORT_VIRTUAL_NETWORK_H_
#define HEADWISE_TESTS_SUPPORT_VIRTUAL_NETWORK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/support/child_process.h"

namespace headwise {

// The thread that creates it, and those that it starts later, live on the
// bridge, at 10.77.0.1; every host is a namespace behind a link of its own. No
// packet leaves, other tests have networks of their own, and all goes with the
// processes. Not thread-safe. Create it before anything that starts threads
// with sockets, such as gRPC.
//
// Needs root. Where the machine does not allow it every call is a
// FailedPrecondition that says what was tried and what came of it.
class VirtualNetwork {
 public:
  static absl::StatusOr<std::unique_ptr<VirtualNetwork>> Create();
  // Brings the thread back to the network that it came from.
  ~VirtualNetwork();
  VirtualNetwork(const VirtualNetwork&) = delete;

  static std::string own_address() { return "10.77.0.1"; }

  // A host is a lower-case word of at most 8 letters and digits.
  absl::Status AddHost(const std::string& name);
  std::string AddressOf(const std::string& name) const;
  // Put before a command, it runs there: exec keeps the process id.
  std::vector<std::string> PrefixOf(const std::string& name) const;

  // The cable, pulled out and put back.
  absl::Status SetLink(const std::string& name, bool is_up);
  // Hosts that are cut off reach the bridge's own address, not one another.
  absl::Status CutOff(const std::string& name, bool is_cut_off);
  // Of the link, in each direction; 0: no limit.
  absl::Status LimitRate(const std::string& name, int64_t bits_per_second);

 private:
  struct Host {
    std::unique_ptr<ChildProcess> holder;  // keeps the namespace alive
    int number = 0;                        // last part of the address
  };

  explicit VirtualNetwork(int origin) : origin_(origin) {}
  // `command` is of /bin/sh, since tools are in different places.
  absl::Status Run(const std::string& command);
  absl::Status WaitForNamespace(const Host& host) const;

  const int origin_;  // the network that the thread came from
  TemporaryFolder folder_;
  int num_commands_ = 0;
  std::map<std::string, Host> hosts_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_VIRTUAL_NETWORK_H_
