// Which process is which on this host, and whether it still runs.

#ifndef HEADWISE_WORKER_COLLECTIVES_PROCESS_IDENTITY_H_
#define HEADWISE_WORKER_COLLECTIVES_PROCESS_IDENTITY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace headwise {

// A process id alone may be given to a new process; with the start time it
// names one process of this boot.
struct ProcessIdentity {
  int64_t pid = 0;
  uint64_t start_time = 0;  // clock ticks since boot

  bool operator==(const ProcessIdentity&) const = default;
};

// NotFound if no such process runs; one that has died but was not yet reaped by
// its parent does not run.
absl::StatusOr<ProcessIdentity> IdentityOf(int64_t pid);
absl::StatusOr<ProcessIdentity> OwnIdentity();

// False once the process has died, also before its parent has reaped it.
bool IsRunning(const ProcessIdentity& identity);

// The identity in one number: a process id alone comes again, in a container as
// 1 after each restart.
uint64_t ProcessNumber(const ProcessIdentity& identity);

// Two processes with equal host ids can share memory: same boot of the same
// kernel, same process id namespace (so that each can see whether the other is
// alive), same user. Printable, without spaces.
absl::StatusOr<std::string> HostId();

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_PROCESS_IDENTITY_H_
