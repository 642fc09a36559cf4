#include "server/books/sql_database.h"

#include <sqlite3.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr int kBusyMs = 10'000;

absl::StatusCode CodeOf(int error) {
  switch (error & 0xff) {
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::StatusCode::kInternal;
  }
}

int Bind(sqlite3_stmt* statement, int index, const SqlValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) {
    return sqlite3_bind_int64(statement, index, *number);
  }
  if (const auto* real = std::get_if<double>(&value)) {
    return sqlite3_bind_double(statement, index, *real);
  }
  if (const auto* blob = std::get_if<SqlBlob>(&value)) {
    if (blob->bytes.empty()) return sqlite3_bind_zeroblob(statement, index, 0);
    return sqlite3_bind_blob64(statement, index, blob->bytes.data(),
                               blob->bytes.size(), SQLITE_TRANSIENT);
  }
  const auto text = std::get<absl::string_view>(value);
  // Null data would be NULL, not the empty text.
  return sqlite3_bind_text64(statement, index,
                             text.data() == nullptr ? "" : text.data(),
                             text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

}  // namespace

int64_t SqlRow::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

double SqlRow::Real(int column) const {
  return sqlite3_column_double(statement_, column);
}

std::string SqlRow::Text(int column) const {
  const unsigned char* const text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return "";
  return {reinterpret_cast<const char*>(text),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string SqlRow::Blob(int column) const {
  const void* const bytes = sqlite3_column_blob(statement_, column);
  if (bytes == nullptr) return "";
  return {static_cast<const char*>(bytes),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

absl::StatusOr<std::unique_ptr<SqlDatabase>> SqlDatabase::Open(
    const std::string& path, SqlJournal journal) {
  sqlite3* database = nullptr;
  const int error = sqlite3_open_v2(
      path.c_str(), &database,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
      nullptr);
  std::unique_ptr<SqlDatabase> opened(new SqlDatabase(path, database));
  if (error != SQLITE_OK) return opened->Failed("can't be opened");
  sqlite3_extended_result_codes(database, 1);
  sqlite3_busy_timeout(database, kBusyMs);
  if (journal == SqlJournal::kRollback) {
    HEADWISE_RETURN_IF_ERROR(opened->Run("PRAGMA journal_mode = DELETE"));
    HEADWISE_RETURN_IF_ERROR(opened->Run("PRAGMA synchronous = FULL"));
    return opened;
  }
  // One process at a time, which so needs no shared memory.
  HEADWISE_RETURN_IF_ERROR(opened->Run("PRAGMA locking_mode = EXCLUSIVE"));
  HEADWISE_RETURN_IF_ERROR(opened->Run("PRAGMA journal_mode = WAL"));
  HEADWISE_RETURN_IF_ERROR(opened->Run("PRAGMA synchronous = NORMAL"));
  HEADWISE_RETURN_IF_ERROR(opened->Run("PRAGMA wal_autocheckpoint = 0"));
  return opened;
}

absl::Status SqlDatabase::Checkpoint() {
  return Run("PRAGMA wal_checkpoint(TRUNCATE)");
}

SqlDatabase::~SqlDatabase() { sqlite3_close_v2(database_); }

absl::Status SqlDatabase::Failed(absl::string_view what) const {
  return {CodeOf(sqlite3_extended_errcode(database_)),
          absl::StrCat(path_, ": ", what, ": ", sqlite3_errmsg(database_))};
}

absl::Status SqlDatabase::Run(absl::string_view sql,
                              std::initializer_list<SqlValue> values,
                              const TakeSqlRow& take) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database_, sql.data(), static_cast<int>(sql.size()),
                         &statement, nullptr) != SQLITE_OK) {
    return Failed("can't be asked");
  }
  const auto finalize =
      absl::MakeCleanup([statement] { sqlite3_finalize(statement); });
  int index = 0;
  for (const SqlValue& value : values) {
    if (Bind(statement, ++index, value) != SQLITE_OK) {
      return Failed("can't be asked");
    }
  }
  while (true) {
    const int step = sqlite3_step(statement);
    if (step == SQLITE_DONE) return absl::OkStatus();
    if (step != SQLITE_ROW) return Failed("failed");
    if (take != nullptr) HEADWISE_RETURN_IF_ERROR(take(SqlRow(statement)));
  }
}

int64_t SqlDatabase::num_changed() const {
  return sqlite3_changes64(database_);
}

absl::Status SqlDatabase::Transact(const std::function<absl::Status()>& body) {
  HEADWISE_RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = Run("COMMIT");
  // Some errors have ended the transaction already.
  if (!status.ok() && sqlite3_get_autocommit(database_) == 0) {
    Run("ROLLBACK").IgnoreError();
  }
  return status;
}

}  // namespace headwise
