// A worker's sessions with a thread of their own: calls queue, one runs.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_NODE_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_NODE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/isa.h"
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
class SessionNode {
 public:
  explicit SessionNode(const SessionNodeOptions& options,
                       const Clock& clock = Clock::Monotonic());
  // Runs what is queued.
  ~SessionNode();

  // Runs `call` on the node's thread after those that came before.
  // ResourceExhausted, and `call` is not run, if kMaxQueuedCalls wait.
  absl::Status Submit(std::function<void(SessionStore&)> call);

  static constexpr size_t kMaxQueuedCalls = 1024;

 private:
  void Loop();

  ThreadTeam team_;
  SessionStore store_;
  absl::Mutex mutex_;
  std::deque<std::function<void(SessionStore&)>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_NODE_H_
