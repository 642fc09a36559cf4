#include "server/books/coordinator_books.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// "HWbk": of SQLite's header, by which the file is told from others.
constexpr int64_t kApplicationId = 0x4857626b;
// Raised by what an older build would misread. A column or a table more is
// ignored by it: statements name their columns, and what is new has a default.
constexpr int64_t kFormat = 1;

constexpr const char* kSchema[] = {
    "CREATE TABLE about (model TEXT NOT NULL, next_epoch INTEGER NOT NULL)",
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, "
    "plan BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE tokens (session TEXT NOT NULL, first INTEGER NOT NULL, "
    "ids BLOB NOT NULL, PRIMARY KEY (session, first))",
};

absl::string_view BytesOf(const std::vector<int32_t>& tokens) {
  return {reinterpret_cast<const char*>(tokens.data()),
          tokens.size() * sizeof(int32_t)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorBooks>> CoordinatorBooks::Open(
    const std::string& path, const std::string& model_sha256) {
  HEADWISE_ASSIGN_OR_RETURN(std::unique_ptr<SqlDatabase> database,
                            SqlDatabase::Open(path, SqlJournal::kAhead));
  std::unique_ptr<CoordinatorBooks> books(
      new CoordinatorBooks(path, std::move(database)));
  absl::MutexLock lock(&books->mutex_);
  HEADWISE_RETURN_IF_ERROR(books->Begin(model_sha256));
  return books;
}

absl::StatusOr<int64_t> CoordinatorBooks::Number(absl::string_view sql) {
  int64_t number = 0;
  HEADWISE_RETURN_IF_ERROR(database_->Run(sql, {}, [&](const SqlRow& row) {
    number = row.Int(0);
    return absl::OkStatus();
  }));
  return number;
}

absl::Status CoordinatorBooks::CheckKind() {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t kind,
                            Number("PRAGMA application_id"));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t format,
                            Number("PRAGMA user_version"));
  if (kind != kApplicationId) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, " is a database of another program: its application id is ",
        kind, ", a coordinator's books have ", kApplicationId));
  }
  if (format == kFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path_, " has format ", format, ", this build reads ", kFormat));
}

absl::Status CoordinatorBooks::Begin(const std::string& model_sha256) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_tables,
                            Number("SELECT count(*) FROM sqlite_master"));
  if (num_tables == 0) {
    HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
      mutex_.AssertHeld();
      for (const char* sql : kSchema) {
        HEADWISE_RETURN_IF_ERROR(database_->Run(sql));
      }
      HEADWISE_RETURN_IF_ERROR(database_->Run(
          absl::StrCat("PRAGMA application_id = ", kApplicationId)));
      HEADWISE_RETURN_IF_ERROR(
          database_->Run(absl::StrCat("PRAGMA user_version = ", kFormat)));
      return database_->Run(
          "INSERT INTO about (model, next_epoch) VALUES (?, 0)",
          {absl::string_view(model_sha256)});
    }));
  }
  HEADWISE_RETURN_IF_ERROR(CheckKind());
  std::string model;
  HEADWISE_RETURN_IF_ERROR(
      database_->Run("SELECT model FROM about", {}, [&](const SqlRow& row) {
        model = row.Text(0);
        return absl::OkStatus();
      }));
  if (model != model_sha256) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " is of model ", model, ", served is ",
                     model_sha256, ": give --books another file"));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      num_tokens_,
      Number("SELECT ifnull(sum(length(ids)), 0) / 4 FROM tokens"));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CoordinatorBooks::TakeEpochs(uint64_t min_epoch) {
  absl::MutexLock lock(&mutex_);
  uint64_t first = 0;
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_ASSIGN_OR_RETURN(const int64_t next,
                              Number("SELECT next_epoch FROM about"));
    first = std::max(static_cast<uint64_t>(next), min_epoch);
    return database_->Run("UPDATE about SET next_epoch = ?",
                          {static_cast<int64_t>(first + kEpochsPerStart)});
  }));
  return first;
}

absl::StatusOr<bool> CoordinatorBooks::ReadTokens(BookedSession* session) {
  std::vector<int32_t>& tokens = session->tokens;
  bool is_whole = true;
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT first, ids FROM tokens WHERE session = ? ORDER BY first",
      {absl::string_view(session->id)}, [&](const SqlRow& row) {
        const std::string ids = row.Blob(1);
        const size_t have = tokens.size();
        is_whole = is_whole && row.Int(0) == static_cast<int64_t>(have) &&
                   ids.size() % sizeof(int32_t) == 0;
        if (!is_whole) return absl::OkStatus();
        tokens.resize(have + ids.size() / sizeof(int32_t));
        std::memcpy(tokens.data() + have, ids.data(), ids.size());
        return absl::OkStatus();
      }));
  return is_whole && !tokens.empty();
}

absl::StatusOr<std::vector<BookedSession>> CoordinatorBooks::TakeSessions(
    std::vector<std::string>* lost) {
  absl::MutexLock lock(&mutex_);
  std::vector<BookedSession> booked;
  HEADWISE_RETURN_IF_ERROR(
      database_->Run("SELECT id, tenant, plan FROM sessions ORDER BY id", {},
                     [&](const SqlRow& row) {
                       booked.push_back({.id = row.Text(0),
                                         .tenant = row.Text(1),
                                         .plan = row.Blob(2),
                                         .tokens = {}});
                       return absl::OkStatus();
                     }));
  std::vector<BookedSession> sessions;
  for (BookedSession& session : booked) {
    HEADWISE_ASSIGN_OR_RETURN(const bool is_whole, ReadTokens(&session));
    if (is_whole) {
      sessions.push_back(std::move(session));
      continue;
    }
    HEADWISE_RETURN_IF_ERROR(RemoveLocked(session.id));
    lost->push_back(session.id);
  }
  return sessions;
}

absl::Status CoordinatorBooks::Append(const BookedSession& session,
                                      int64_t first) {
  absl::MutexLock lock(&mutex_);
  const auto num_new = static_cast<int64_t>(session.tokens.size());
  if (num_tokens_ + num_new > kMaxBookedTokens) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path_, " has ", num_tokens_, " tokens of sessions and ",
                     num_new, " are to come, at most ", kMaxBookedTokens));
  }
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "INSERT OR IGNORE INTO sessions (id, tenant, plan) VALUES (?, ?, ?)",
        {absl::string_view(session.id), absl::string_view(session.tenant),
         SqlBlob{session.plan}}));
    return database_->Run(
        "INSERT INTO tokens (session, first, ids) VALUES (?, ?, ?)",
        {absl::string_view(session.id), first,
         SqlBlob{BytesOf(session.tokens)}});
  }));
  num_tokens_ += num_new;
  return absl::OkStatus();
}

absl::Status CoordinatorBooks::Remove(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  return RemoveLocked(id);
}

absl::Status CoordinatorBooks::RemoveLocked(const std::string& id) {
  return database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_RETURN_IF_ERROR(database_->Run("DELETE FROM sessions WHERE id = ?",
                                            {absl::string_view(id)}));
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "DELETE FROM tokens WHERE session = ?", {absl::string_view(id)}));
    HEADWISE_ASSIGN_OR_RETURN(
        num_tokens_,
        Number("SELECT ifnull(sum(length(ids)), 0) / 4 FROM tokens"));
    return absl::OkStatus();
  });
}

absl::Status CoordinatorBooks::Checkpoint() {
  absl::MutexLock lock(&mutex_);
  return database_->Checkpoint();
}

}  // namespace headwise
