#include "server/attention/attention_session.h"

#include "absl/strings/str_cat.h"

namespace headwise {

AttentionSession::AttentionSession(std::string id, std::string tenant,
                                   AttentionConfig config,
                                   std::vector<Worker> workers, absl::Time now)
    : id_(std::move(id)),
      tenant_(std::move(tenant)),
      config_(std::move(config)),
      workers_(std::move(workers)),
      last_used_(now) {}

SessionInfo AttentionSession::info() const {
  SessionInfo info;
  info.session_id = id_;
  info.config = config_;
  for (const Worker& worker : workers_) {
    info.workers.push_back({worker.name, worker.reserved_bytes,
                            static_cast<int64_t>(worker.units.size())});
  }
  absl::MutexLock lock(&mutex_);
  info.stored_positions = length_;
  info.lost = std::string(lost_.message());
  return info;
}

int64_t AttentionSession::length() const {
  absl::MutexLock lock(&mutex_);
  return length_;
}

absl::Status AttentionSession::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

void AttentionSession::MarkLost(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  if (lost_.ok()) lost_ = reason;
}

void AttentionSession::CheckMembers(const MembershipView& view) {
  for (const Worker& worker : workers_) {
    bool is_there = false;
    for (const Member& member : view.members) {
      is_there |= member.registration_id == worker.registration_id;
    }
    if (!is_there) {
      MarkLost(absl::DataLossError(absl::StrCat(
          "worker ", worker.name, " is gone, and the session with it")));
    }
  }
}

absl::Status AttentionSession::Explain(const Worker& worker,
                                       const absl::Status& status) {
  if (absl::IsNotFound(status)) {
    MarkLost(absl::DataLossError(
        absl::StrCat("worker ", worker.name,
                     " does not have its part of the session any more")));
    return lost();
  }
  const std::string message =
      absl::StrCat("worker ", worker.name, ": ", status.message());
  if (absl::IsDeadlineExceeded(status)) return absl::UnavailableError(message);
  // A streaming head dropped what the call wanted while it was under way.
  if (absl::IsFailedPrecondition(status)) return absl::AbortedError(message);
  return absl::Status(status.code(), message);
}

absl::Status AttentionSession::BeginChange() {
  absl::MutexLock lock(&mutex_);
  if (!lost_.ok()) return lost_;
  if (changing_) {
    return absl::AbortedError(
        "another call is changing the session; ask it for stored_positions "
        "and try again");
  }
  changing_ = true;
  return absl::OkStatus();
}

void AttentionSession::EndChange() {
  absl::MutexLock lock(&mutex_);
  changing_ = false;
}

bool AttentionSession::HasChunk(const Chunk& chunk,
                                int64_t num_positions) const {
  absl::MutexLock lock(&mutex_);
  return chunks_.Has(chunk.offset, num_positions, chunk.sha256);
}

void AttentionSession::Store(const Chunk& chunk, int64_t num_positions) {
  absl::MutexLock lock(&mutex_);
  length_ = chunk.offset + num_positions;
  chunks_.Add(chunk.offset, num_positions, chunk.sha256);
}

void AttentionSession::StoreAll(int64_t length, const ChunkLog& chunks) {
  absl::MutexLock lock(&mutex_);
  length_ = length;
  chunks_ = chunks;
}

ChunkLog AttentionSession::chunks() const {
  absl::MutexLock lock(&mutex_);
  return chunks_;
}

void AttentionSession::Touch(absl::Time now, int calls_begun) {
  absl::MutexLock lock(&mutex_);
  calls_ += calls_begun;
  last_used_ = now;
}

bool AttentionSession::IsIdle(absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  return calls_ == 0 && now - last_used_ > config_.ttl;
}

absl::StatusOr<SessionChange> SessionChange::Begin(AttentionSession& session) {
  const absl::Status begun = session.BeginChange();
  if (!begun.ok()) return begun;
  return SessionChange(session);
}

}  // namespace headwise
