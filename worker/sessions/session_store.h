// All sessions of one worker: their memory, and what is asked of them.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_STORE_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/leases/lease_table.h"
#include "worker/sessions/block_pool.h"
#include "worker/sessions/session_messages.h"
#include "worker/sessions/session_part.h"

namespace headwise {

struct SessionStoreOptions {
  int64_t capacity_bytes = 0;
  // A session that no coordinator has named for so long is dropped: its
  // coordinator is gone.
  absl::Duration lease = absl::Seconds(60);
  int64_t max_sessions = 4096;
};

// Not thread-safe. Every call names a session; NotFound if it is not here.
//
// Bytes are promised when a session opens or forks and taken as it grows, so
// that a session never fails for want of memory later on.
class SessionStore {
 public:
  // The references must outlive the store.
  SessionStore(const SessionStoreOptions& options, const Kernels& kernels,
               ThreadTeam& team, const Clock& clock);
  ~SessionStore();

  // Returns the bytes that are promised. ResourceExhausted names the bytes that
  // are needed and those that are free; AlreadyExists, InvalidArgument.
  absl::StatusOr<int64_t> Open(const OpenPartRequest& request);
  // Keys and values beyond the stored positions; may be staged again.
  absl::Status Stage(const StageRequest& request);
  absl::StatusOr<AttendPartResult> Attend(const AttendPartRequest& request);
  absl::StatusOr<ProbePartResult> Probe(const ProbePartRequest& request);
  // Whole blocks are shared, so this costs as many bytes as may still come.
  // Returns the bytes that the fork may ever have.
  absl::StatusOr<int64_t> Fork(const std::string& session_id,
                               const std::string& fork_id, int64_t length);
  // The blocks' bytes, zero at positions from `length` on.
  absl::StatusOr<std::string> Export(const std::string& session_id,
                                     const BlockRun& run, int64_t length);
  // InvalidArgument if a number in the blocks is not finite.
  absl::Status Import(const std::string& session_id, const BlockRun& run,
                      const std::string& bytes);
  absl::Status Delete(const std::string& session_id);

  // Renews the lease of these; returns those that are not here. Sessions whose
  // lease has ended are dropped.
  std::vector<std::string> Renew(const std::vector<std::string>& session_ids);

  // In use and promised.
  int64_t committed_bytes() const;
  int64_t num_sessions() const { return parts_.size(); }

 private:
  absl::StatusOr<int64_t> Add(const std::string& session_id,
                              std::unique_ptr<SessionPart> part);
  // ResourceExhausted unless `bytes` more can be promised.
  absl::Status CheckFree(int64_t bytes) const;
  BlockPool& PoolOf(const SessionShape& shape);

  const SessionStoreOptions options_;
  const Kernels& kernels_;
  ThreadTeam& team_;
  std::map<int64_t, BlockPool> pools_;  // by block_bytes
  LeaseTable<SessionPart> parts_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_STORE_H_
