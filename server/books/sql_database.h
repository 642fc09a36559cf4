// SQLite, as status and plain values.

#ifndef HEADWISE_SERVER_BOOKS_SQL_DATABASE_H_
#define HEADWISE_SERVER_BOOKS_SQL_DATABASE_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;
struct sqlite3_stmt;

namespace headwise {

struct SqlBlob {
  absl::string_view bytes;
};
using SqlValue = std::variant<int64_t, double, absl::string_view, SqlBlob>;

// What a commit costs, and what is there after it.
enum class SqlJournal {
  kRollback,  // synced in full: all of it, also after a loss of power
  // Written ahead, and synced by Checkpoint alone: all of it after the end of
  // this process, however it ended; after a loss of power what was there at the
  // last checkpoint, and perhaps more.
  kAhead,
};

// A row that a statement gives; columns from 0.
class SqlRow {
 public:
  explicit SqlRow(sqlite3_stmt* statement) : statement_(statement) {}
  int64_t Int(int column) const;
  double Real(int column) const;
  std::string Text(int column) const;
  std::string Blob(int column) const;

 private:
  sqlite3_stmt* const statement_;
};

using TakeSqlRow = std::function<absl::Status(const SqlRow&)>;

// What a transaction wrote is there, or none of it. Errors name the file:
// ResourceExhausted (no room), PermissionDenied, Unavailable (another process
// held it for 10 s, or the disk fails), DataLoss (no database, or a damaged
// one), Internal. Not thread-safe.
class SqlDatabase {
 public:
  // Makes the file where it isn't there.
  static absl::StatusOr<std::unique_ptr<SqlDatabase>> Open(
      const std::string& path, SqlJournal journal = SqlJournal::kRollback);
  ~SqlDatabase();
  SqlDatabase(const SqlDatabase&) = delete;
  SqlDatabase& operator=(const SqlDatabase&) = delete;

  // One statement with `values` for its question marks. `take` sees each row;
  // an error of it ends the statement and is returned.
  absl::Status Run(absl::string_view sql,
                   std::initializer_list<SqlValue> values = {},
                   const TakeSqlRow& take = nullptr);
  int64_t num_changed() const;  // rows, by the last INSERT, UPDATE or DELETE

  // kAhead: what was written ahead goes to its place, synced.
  absl::Status Checkpoint();

  // Runs `body` as one transaction that writes; an error of it takes all back.
  absl::Status Transact(const std::function<absl::Status()>& body);

 private:
  SqlDatabase(std::string path, sqlite3* database)
      : path_(std::move(path)), database_(database) {}
  absl::Status Failed(absl::string_view what) const;

  const std::string path_;
  sqlite3* const database_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_BOOKS_SQL_DATABASE_H_
