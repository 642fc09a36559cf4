// A session as a sequence of blocks, out of one cluster and into another.

#ifndef HEADWISE_SERVER_ATTENTION_SESSION_SNAPSHOT_H_
#define HEADWISE_SERVER_ATTENTION_SESSION_SNAPSHOT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/attention/attention_session.h"
#include "server/attention/attention_sessions.h"
#include "server/attention/attention_types.h"

namespace headwise {

// Not thread-safe. The session can't grow while it lives.
class SnapshotReader {
 public:
  // `sessions` must outlive it.
  static absl::StatusOr<std::unique_ptr<SnapshotReader>> Open(
      AttentionSessions& sessions, const Caller& caller,
      const std::string& session_id);

  const AttentionConfig& config() const { return session_->config(); }
  int64_t stored_positions() const { return length_; }
  // The next blocks; nullopt after the last ones.
  absl::StatusOr<std::optional<SnapshotBlock>> Next();

 private:
  SnapshotReader(AttentionSessions& sessions, const Caller& caller,
                 SessionUse session, SessionChange change);

  struct Step {
    BlockRun run;
    size_t worker = 0;
  };
  const AttentionSessions& sessions_;
  const Caller caller_;
  const SessionUse session_;
  const SessionChange change_;
  const int64_t length_;
  std::vector<Step> steps_;  // by kv_head, then first_block
  size_t next_ = 0;
};

// Not thread-safe. What is not finished leaves nothing behind.
class SnapshotWriter {
 public:
  // `sessions` must outlive it. Errors as Open.
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> Open(
      AttentionSessions& sessions, const Caller& caller,
      const AttentionConfig& config, int64_t stored_positions);
  ~SnapshotWriter();

  // DataLoss for a wrong hash; InvalidArgument for blocks that are not the
  // next ones, or that hold a number that is not finite.
  absl::Status Add(const SnapshotBlock& block);
  // DataLoss if blocks are missing.
  absl::StatusOr<SessionInfo> Finish();

 private:
  SnapshotWriter(AttentionSessions& sessions, const Caller& caller,
                 std::shared_ptr<AttentionSession> session, int64_t length)
      : sessions_(sessions),
        caller_(caller),
        session_(std::move(session)),
        length_(length) {
    FindNext();
  }

  UnitShare ShareOf(int64_t kv_head) const;
  // Moves (kv_head_, block_) to a block that is kept.
  void FindNext();
  bool is_complete() const;
  // The next must be what the unit remembers of dropped positions.
  bool ExpectsSums() const;
  absl::Status CheckRun(const BlockRun& run) const;
  absl::Status CheckSums(const std::string& data) const;

  AttentionSessions& sessions_;
  const Caller caller_;
  const std::shared_ptr<AttentionSession> session_;
  const int64_t length_;
  // The block that must come next.
  int64_t kv_head_ = 0;
  int64_t block_ = 0;
  bool has_sums_ = false;  // of the unit
  bool published_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_SESSION_SNAPSHOT_H_
