// One attention session in the coordinator's book: who holds it, how far it
// goes, whether it is lost.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_SESSION_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/attention/attention_link.h"
#include "server/attention/attention_types.h"
#include "server/attention/chunk_log.h"
#include "server/membership/membership.h"

namespace headwise {

// Thread-safe. The number of stored positions is here and nowhere else: a chunk
// that all workers have staged is stored the moment that it grows.
class AttentionSession {
 public:
  struct Worker {
    std::string name;
    uint64_t registration_id = 0;
    std::shared_ptr<AttentionLink> link;
    std::vector<UnitShare> units;
    int64_t reserved_bytes = 0;
  };

  AttentionSession(std::string id, std::string tenant, AttentionConfig config,
                   std::vector<Worker> workers, absl::Time now);

  const std::string& id() const { return id_; }
  const std::string& tenant() const { return tenant_; }
  const AttentionConfig& config() const { return config_; }
  const std::vector<Worker>& workers() const { return workers_; }
  SessionInfo info() const;

  int64_t length() const;
  // Why every call fails, or OK.
  absl::Status lost() const;
  // Lost for good; the first reason stays.
  void MarkLost(const absl::Status& reason);
  // Lost if a worker of it is not in the view any more.
  void CheckMembers(const MembershipView& view);
  // What a worker's error means to a caller: names the worker. NotFound there
  // means that the session is lost; FailedPrecondition, that another call has
  // changed it meanwhile.
  absl::Status Explain(const Worker& worker, const absl::Status& status);

  // Only one call at a time may change a session. Aborted: another one does.
  absl::Status BeginChange();
  void EndChange();

  // For the one that changes it.
  bool HasChunk(const Chunk& chunk, int64_t num_positions) const;
  void Store(const Chunk& chunk, int64_t num_positions);
  // What was restored, or forked.
  void StoreAll(int64_t length, const ChunkLog& chunks);
  ChunkLog chunks() const;

  // A call begins or ends: it is not idle.
  void Touch(absl::Time now, int calls_begun);
  bool IsIdle(absl::Time now) const;

 private:
  const std::string id_;
  const std::string tenant_;
  const AttentionConfig config_;
  const std::vector<Worker> workers_;

  mutable absl::Mutex mutex_;
  int64_t length_ ABSL_GUARDED_BY(mutex_) = 0;
  ChunkLog chunks_ ABSL_GUARDED_BY(mutex_);
  bool changing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_used_ ABSL_GUARDED_BY(mutex_);
};

// A call on a session: keeps it from being idle while it lives.
class SessionUse {
 public:
  SessionUse(std::shared_ptr<AttentionSession> session, const Clock& clock)
      : session_(std::move(session)), clock_(&clock) {
    session_->Touch(clock_->Now(), 1);
  }
  ~SessionUse() {
    if (session_ != nullptr) session_->Touch(clock_->Now(), -1);
  }
  SessionUse(SessionUse&& other) noexcept = default;
  SessionUse& operator=(SessionUse&&) = delete;

  AttentionSession& operator*() const { return *session_; }
  AttentionSession* operator->() const { return session_.get(); }

 private:
  std::shared_ptr<AttentionSession> session_;
  const Clock* clock_;
};

// The right to change a session, for as long as it lives.
class SessionChange {
 public:
  static absl::StatusOr<SessionChange> Begin(AttentionSession& session);
  ~SessionChange() {
    if (session_ != nullptr) session_->EndChange();
  }
  SessionChange(SessionChange&& other) noexcept
      : session_(std::exchange(other.session_, nullptr)) {}
  SessionChange& operator=(SessionChange&&) = delete;

 private:
  explicit SessionChange(AttentionSession& session) : session_(&session) {}
  AttentionSession* session_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_SESSION_H_
