// What a coordinator must know again when it starts anew: epochs, and the
// tokens of prompt sessions.

#ifndef HEADWISE_SERVER_BOOKS_COORDINATOR_BOOKS_H_
#define HEADWISE_SERVER_BOOKS_COORDINATOR_BOOKS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/books/sql_database.h"

namespace headwise {

// Of all sessions: a GiB.
inline constexpr int64_t kMaxBookedTokens = int64_t{1} << 28;
// A start may use so many epochs before the next one's begin.
inline constexpr uint64_t kEpochsPerStart = uint64_t{1} << 20;

struct BookedSession {
  std::string id;
  std::string tenant;
  std::string plan;             // bytes; empty: every unit full
  std::vector<int32_t> tokens;  // all, from the first on
};

// One SQLite file, of one process at a time. Thread-safe. Writes go to the
// kernel and are not synced: they are there after a KILL. Errors are those of
// SqlDatabase, and name the file.
class CoordinatorBooks {
 public:
  // FailedPrecondition: the file is another program's, of a newer format, or of
  // another model (both ids).
  static absl::StatusOr<std::unique_ptr<CoordinatorBooks>> Open(
      const std::string& path, const std::string& model_sha256);

  // The first epoch of this start: at least `min_epoch`, and above all that
  // earlier starts had.
  absl::StatusOr<uint64_t> TakeEpochs(uint64_t min_epoch);

  // By id. Sessions of which tokens are missing are forgotten, and named in
  // `lost`.
  absl::StatusOr<std::vector<BookedSession>> TakeSessions(
      std::vector<std::string>* lost);
  // `session.tokens` follow the `first` that are booked. ResourceExhausted
  // beyond kMaxBookedTokens.
  absl::Status Append(const BookedSession& session, int64_t first);
  // No effect if it is not booked.
  absl::Status Remove(const std::string& id);

  // To be called now and then: bounds what is written ahead, and syncs.
  absl::Status Checkpoint();

 private:
  CoordinatorBooks(std::string path, std::unique_ptr<SqlDatabase> database)
      : path_(std::move(path)), database_(std::move(database)) {}
  absl::Status Begin(const std::string& model_sha256)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckKind() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False if some are missing.
  absl::StatusOr<bool> ReadTokens(BookedSession* session)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RemoveLocked(const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<int64_t> Number(absl::string_view sql)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  absl::Mutex mutex_;
  const std::unique_ptr<SqlDatabase> database_ ABSL_PT_GUARDED_BY(mutex_);
  int64_t num_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_BOOKS_COORDINATOR_BOOKS_H_
