// A worker's sessions with a thread of their own: calls queue, one runs.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_NODE_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_NODE_H_

#include <cstdint>

#include "base/clock.h"
#include "worker/backends/cpu/isa.h"
#include "worker/leases/store_node.h"
#include "worker/sessions/session_store.h"

namespace headwise {

struct SessionNodeOptions {
  int num_threads = 1;
  Isa isa = Isa::kAvx2;
  SessionStoreOptions store;
};

// A quarter of the memory that is available now, at least 64 MiB: the rest is
// for models, other processes and the page cache.
int64_t DefaultSessionBytes();

// Thread-safe.
class SessionNode final : public StoreNode<SessionStore> {
 public:
  explicit SessionNode(const SessionNodeOptions& options,
                       const Clock& clock = Clock::Monotonic());
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_NODE_H_
