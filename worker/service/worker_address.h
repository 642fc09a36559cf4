// Under which addresses others reach a worker.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_ADDRESS_H_
#define HEADWISE_WORKER_SERVICE_WORKER_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"

namespace headwise {

// As the flags of these names say; empty: not given.
struct WorkerAddressFlags {
  std::string listen;       // host:port, always given
  std::string coordinator;  // host:port,...
  std::string advertise_host;
  std::string group_address;
};

struct WorkerAddresses {
  std::string advertise_host;  // of the coordinator's calls, IPv6 in brackets
  std::string group_address;   // of peers, what GroupSpec::bind_address takes
};

// Fills in what was not given: the host of --listen, and for the group the
// advertised one. A wildcard then means this machine only. InvalidArgument,
// with the flag to give, if a coordinator that may be on another machine could
// not reach the worker: its group would never form, and nothing would say why.
absl::StatusOr<WorkerAddresses> ResolveAddresses(
    const WorkerAddressFlags& flags);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_ADDRESS_H_
