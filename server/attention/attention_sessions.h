// All attention sessions of a coordinator: opened over its workers, kept in a
// book, expired when idle.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/attention/attention_link.h"
#include "server/attention/attention_session.h"
#include "server/attention/attention_types.h"
#include "server/membership/membership.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

struct AttentionSessionsOptions {
  std::function<std::shared_ptr<const MembershipView>()> view;
  std::function<std::shared_ptr<AttentionLink>(const MemberInfo&)> make_link;
  size_t max_sessions = 1024;
  // Between looks for idle sessions; a worker forgets sessions that it does not
  // hear of for a minute. Infinite: tests call Step.
  absl::Duration interval = absl::Seconds(2);
};

struct AttentionStats {
  int64_t num_sessions = 0;
  int64_t reserved_bytes = 0;  // of all workers
};

// Thread-safe. Calls block until workers have answered; none is made with a
// lock held. NotFound for a session that is not the caller's; DataLoss for one
// whose worker is gone.
class AttentionSessions {
 public:
  explicit AttentionSessions(AttentionSessionsOptions options,
                             const Clock& clock = Clock::Monotonic());
  ~AttentionSessions();

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
  void Publish(const std::shared_ptr<AttentionSession>& session);
  void Drop(const std::shared_ptr<AttentionSession>& session);
  absl::StatusOr<SessionUse> Use(const Caller& caller,
                                 const std::string& session_id);

  AttentionStats stats() const;
  const Clock& clock() const { return clock_; }

  // Deletes idle sessions, renews the others at their workers.
  void Step();

 private:
  struct Entry {
    std::shared_ptr<AttentionSession> session;
    bool is_hidden = false;
  };
  using Entries = std::map<std::string, Entry>;
  using Worker = AttentionSession::Worker;

  void Loop();
  // What the caller may know of: end() for hidden sessions and for those of
  // another tenant too.
  Entries::iterator FindLocked(const Caller& caller,
                               const std::string& session_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Worker> ShareOut(const AttentionConfig& config);
  std::shared_ptr<AttentionLink> LinkTo(const Member& member);
  // `status` of a call; NotFound if the session was deleted meanwhile.
  absl::Status Outcome(const std::string& session_id,
                       const absl::Status& status) const;
  absl::Status Add(const std::shared_ptr<AttentionSession>& session,
                   bool is_hidden);
  // Waits; what can't be reached forgets the session by itself.
  void DeleteOn(const std::vector<Worker>& workers, const std::string& id);

  const AttentionSessionsOptions options_;
  const Clock& clock_;
  const Kernels& kernels_;
  mutable absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  // By registration_id; of members only.
  std::map<uint64_t, std::shared_ptr<AttentionLink>> links_
      ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_H_
