// What keeps leased things alive at a worker, or ends them.

#ifndef HEADWISE_SERVER_LEASES_LEASE_LINK_H_
#define HEADWISE_SERVER_LEASES_LEASE_LINK_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/leases/done.h"

namespace headwise {

// Thread-safe. Every `done` is called exactly once, within the timeout or soon
// after, perhaps from within the call; it must not block. Unavailable or
// DeadlineExceeded if the worker does not answer.
class LeaseLink {
 public:
  virtual ~LeaseLink() = default;

  virtual void Delete(const std::string& id, absl::Duration timeout,
                      Done<Nothing> done) = 0;
  // Answers those that the worker does not have.
  virtual void Renew(std::vector<std::string> ids, absl::Duration timeout,
                     Done<std::vector<std::string>> done) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_LEASE_LINK_H_
