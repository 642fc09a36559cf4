// What others may know of attention sessions.

#ifndef HEADWISE_SERVER_LEASES_SESSION_LIFETIMES_H_
#define HEADWISE_SERVER_LEASES_SESSION_LIFETIMES_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/leases/caller.h"

namespace headwise {

// Thread-safe. Empty functions: there are no sessions.
struct SessionLifetimes {
  // Keeps the caller's session from being idle while what is returned lives;
  // NotFound.
  std::function<absl::StatusOr<std::shared_ptr<void>>(
      const Caller& caller, const std::string& session_id)>
      hold;
  std::function<bool(const std::string& session_id)> lives;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_SESSION_LIFETIMES_H_
