// All attention sessions of a coordinator: opened over its workers, kept in a
// book, expired when idle.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/attention/attention_link.h"
#include "server/attention/attention_session.h"
#include "server/attention/attention_types.h"
#include "server/leases/lease_book.h"
#include "server/leases/session_lifetimes.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

using AttentionSessionsOptions = LeaseBookOptions<AttentionLink>;

// Thread-safe. Calls block until workers have answered; none is made with a
// lock held. NotFound for a session that is not the caller's; DataLoss for one
// whose worker is gone.
class AttentionSessions {
 public:
  explicit AttentionSessions(AttentionSessionsOptions options,
                             const Clock& clock = Clock::Monotonic());

  // Unavailable if there are no workers; ResourceExhausted names the worker,
  // needed and available bytes.
  absl::StatusOr<SessionInfo> Open(const Caller& caller,
                                   const AttentionConfig& config);
  absl::StatusOr<AppendOutcome> Append(const Caller& caller,
                                       const std::string& session_id,
                                       const Chunk& chunk);
  absl::StatusOr<AttendAnswer> Attend(const Caller& caller,
                                      const std::string& session_id,
                                      const AttendQuery& query);
  absl::StatusOr<SessionInfo> Fork(const Caller& caller,
                                   const std::string& session_id);
  absl::StatusOr<SessionInfo> Get(const Caller& caller,
                                  const std::string& session_id);
  std::vector<SessionInfo> List(const Caller& caller);
  absl::Status Delete(const Caller& caller, const std::string& session_id);

  // For snapshots: a session that nobody finds until it is published.
  absl::StatusOr<std::shared_ptr<AttentionSession>> OpenHidden(
      const Caller& caller, const AttentionConfig& config);
  void Publish(const std::shared_ptr<AttentionSession>& session) {
    book_.Publish(session);
  }
  void Drop(const std::shared_ptr<AttentionSession>& session) {
    book_.Drop(session);
  }
  absl::StatusOr<SessionUse> Use(const Caller& caller,
                                 const std::string& session_id) {
    return book_.Use(caller, session_id);
  }

  // For what belongs to a session and goes with it; refers to this object.
  SessionLifetimes lifetimes();
  LeaseStats stats() const { return book_.stats(); }
  const Clock& clock() const { return book_.clock(); }

  // Deletes idle sessions, renews the others at their workers.
  void Step() { book_.Step(); }

 private:
  using Worker = AttentionSession::Worker;
  std::vector<Worker> ShareOut(const AttentionConfig& config);

  const Kernels& kernels_;
  LeaseBook<AttentionSession, AttentionLink> book_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_H_
