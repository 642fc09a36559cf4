#include "server/selection/job_books.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error_facts.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr int64_t kVersion = 1;
constexpr size_t kMinIdPrefix = 8;
constexpr size_t kIdDigits = 64;
constexpr char kBootIdPath[] = "/proc/sys/kernel/random/boot_id";

// Of all that parts have, the sums are kept too, so that a status costs the
// same for the first shard and the last.
constexpr const char* kTables[] = {
    "CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, reason TEXT NOT NULL,"
    " head TEXT NOT NULL, output TEXT NOT NULL, num_shards INTEGER NOT NULL,"
    " input_bytes INTEGER NOT NULL, num_shards_done INTEGER NOT NULL,"
    " input_bytes_done INTEGER NOT NULL, running_seconds REAL NOT NULL,"
    " result_sha256 TEXT NOT NULL, stale_sketches INTEGER NOT NULL)",
    "CREATE TABLE leases (job INTEGER NOT NULL, shard INTEGER NOT NULL,"
    " owner TEXT NOT NULL, boot TEXT NOT NULL, expires REAL NOT NULL,"
    " PRIMARY KEY (job, shard)) WITHOUT ROWID",
    "CREATE TABLE parts (job INTEGER NOT NULL, shard INTEGER NOT NULL,"
    " file_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,"
    " input_bytes INTEGER NOT NULL, documents INTEGER NOT NULL,"
    " scored INTEGER NOT NULL, ranked INTEGER NOT NULL,"
    " tokens INTEGER NOT NULL, cost REAL NOT NULL,"
    " PRIMARY KEY (job, shard)) WITHOUT ROWID",
    "CREATE TABLE part_domains (job INTEGER NOT NULL, shard INTEGER NOT NULL,"
    " domain TEXT NOT NULL, documents INTEGER NOT NULL,"
    " scored INTEGER NOT NULL, ranked INTEGER NOT NULL,"
    " tokens INTEGER NOT NULL, cost REAL NOT NULL,"
    " PRIMARY KEY (job, shard, domain)) WITHOUT ROWID",
    "CREATE TABLE part_flags (job INTEGER NOT NULL, shard INTEGER NOT NULL,"
    " flag INTEGER NOT NULL, documents INTEGER NOT NULL,"
    " PRIMARY KEY (job, shard, flag)) WITHOUT ROWID",
    "CREATE TABLE job_domains (job INTEGER NOT NULL, domain TEXT NOT NULL,"
    " documents INTEGER NOT NULL, scored INTEGER NOT NULL,"
    " ranked INTEGER NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL,"
    " PRIMARY KEY (job, domain)) WITHOUT ROWID",
    "CREATE TABLE job_flags (job INTEGER NOT NULL, flag INTEGER NOT NULL,"
    " documents INTEGER NOT NULL, PRIMARY KEY (job, flag)) WITHOUT ROWID",
    "CREATE TABLE job_sketches (job INTEGER NOT NULL, domain TEXT NOT NULL,"
    " sketch TEXT NOT NULL, PRIMARY KEY (job, domain)) WITHOUT ROWID",
};

// Those with a column `job`.
constexpr const char* kTablesOfJobs[] = {
    "leases",    "parts",       "part_domains", "part_flags",
    "job_flags", "job_domains", "job_sketches"};
static_assert(std::size(kTables) == std::size(kTablesOfJobs) + 1);

JobEntry EntryOfRow(const SqlRow& row) {
  JobEntry entry;
  entry.number = row.Int(0);
  entry.id = row.Text(1);
  entry.state = static_cast<JobState>(row.Int(2));
  entry.reason = row.Text(3);
  entry.head = row.Text(4);
  entry.output = row.Text(5);
  entry.num_shards = row.Int(6);
  entry.input_bytes = row.Int(7);
  entry.num_shards_done = row.Int(8);
  entry.input_bytes_done = row.Int(9);
  entry.running_seconds = row.Real(10);
  entry.result_sha256 = row.Text(11);
  return entry;
}

int64_t NumberOf(JobState state) { return static_cast<int64_t>(state); }

bool IsIdPrefix(absl::string_view id) {
  return id.size() >= kMinIdPrefix && id.size() <= kIdDigits &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

JobBooks::JobBooks(Options options, std::string boot, const Clock& clock,
                   std::unique_ptr<SqlDatabase> database)
    : options_(std::move(options)),
      boot_(std::move(boot)),
      clock_(clock),
      database_(std::move(database)) {}

absl::StatusOr<std::unique_ptr<JobBooks>> JobBooks::Open(Options options,
                                                         const Clock& clock) {
  // A file of /proc has no size, so it is not read as others are.
  std::string boot(64, '\0');
  if (std::FILE* const file = std::fopen(kBootIdPath, "re")) {
    boot.resize(std::fread(boot.data(), 1, boot.size(), file));
    std::fclose(file);
  } else {
    return absl::UnavailableError(absl::StrCat(kBootIdPath, " can't be read"));
  }
  absl::StripAsciiWhitespace(&boot);
  HEADWISE_ASSIGN_OR_RETURN(auto database, SqlDatabase::Open(options.path));
  std::unique_ptr<JobBooks> books(new JobBooks(
      std::move(options), std::move(boot), clock, std::move(database)));
  absl::MutexLock lock(&books->mutex_);
  HEADWISE_RETURN_IF_ERROR(books->PrepareLocked());
  return books;
}

absl::Status JobBooks::PrepareLocked() {
  return database_->Transact([this]() -> absl::Status {
    mutex_.AssertHeld();
    int64_t version = 0;
    HEADWISE_RETURN_IF_ERROR(
        database_->Run("PRAGMA user_version", {}, [&](const SqlRow& row) {
          version = row.Int(0);
          return absl::OkStatus();
        }));
    if (version == kVersion) return absl::OkStatus();
    if (version != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(options_.path, " has version ", version,
                       ", this program reads version ", kVersion));
    }
    for (const char* table : kTables) {
      HEADWISE_RETURN_IF_ERROR(database_->Run(table));
    }
    return database_->Run(absl::StrCat("PRAGMA user_version = ", kVersion));
  });
}

double JobBooks::NowSeconds() const {
  return absl::ToDoubleSeconds(clock_.Now() - absl::UnixEpoch());
}

absl::StatusOr<std::vector<JobEntry>> JobBooks::EntriesLocked(
    absl::string_view where, absl::string_view value) {
  std::vector<JobEntry> entries;
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      absl::StrCat("SELECT number, id, state, reason, head, output, num_shards,"
                   " input_bytes, num_shards_done, input_bytes_done,"
                   " running_seconds, result_sha256 FROM jobs WHERE ",
                   where, " ORDER BY number"),
      {value}, [&entries](const SqlRow& row) {
        entries.push_back(EntryOfRow(row));
        return absl::OkStatus();
      }));
  return entries;
}

absl::StatusOr<bool> JobBooks::HasRowLocked(
    absl::string_view sql, std::initializer_list<SqlValue> values) {
  bool has_row = false;
  HEADWISE_RETURN_IF_ERROR(
      database_->Run(sql, values, [&has_row](const SqlRow&) {
        has_row = true;
        return absl::OkStatus();
      }));
  return has_row;
}

absl::Status JobBooks::MakeRoomLocked(int64_t max_jobs) {
  int64_t num_jobs = 0;
  HEADWISE_RETURN_IF_ERROR(database_->Run("SELECT COUNT(*) FROM jobs", {},
                                          [&num_jobs](const SqlRow& row) {
                                            num_jobs = row.Int(0);
                                            return absl::OkStatus();
                                          }));
  for (; num_jobs >= max_jobs; --num_jobs) {
    int64_t oldest = 0;  // numbers are from 1 on
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "SELECT MIN(number) FROM jobs WHERE state IN (?, ?)",
        {NumberOf(JobState::kDone), NumberOf(JobState::kCancelled)},
        [&oldest](const SqlRow& row) {
          oldest = row.Int(0);
          return absl::OkStatus();
        }));
    if (oldest == 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat(num_jobs, " jobs have not ended, limit ", max_jobs));
    }
    for (const char* table : kTablesOfJobs) {
      HEADWISE_RETURN_IF_ERROR(database_->Run(
          absl::StrCat("DELETE FROM ", table, " WHERE job = ?"), {oldest}));
    }
    HEADWISE_RETURN_IF_ERROR(
        database_->Run("DELETE FROM jobs WHERE number = ?", {oldest}));
  }
  return absl::OkStatus();
}

absl::StatusOr<JobEntry> JobBooks::Add(const JobEntry& entry,
                                       int64_t max_jobs) {
  absl::MutexLock lock(&mutex_);
  JobEntry added;
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_ASSIGN_OR_RETURN(auto found, EntriesLocked("id = ?", entry.id));
    if (found.empty()) {
      HEADWISE_RETURN_IF_ERROR(MakeRoomLocked(max_jobs));
      HEADWISE_RETURN_IF_ERROR(database_->Run(
          "INSERT INTO jobs (id, state, reason, head, output, num_shards,"
          " input_bytes, num_shards_done, input_bytes_done, running_seconds,"
          " result_sha256, stale_sketches)"
          " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, '', 0)",
          {entry.id, NumberOf(entry.state), entry.reason, entry.head,
           entry.output, entry.num_shards, entry.input_bytes}));
      HEADWISE_ASSIGN_OR_RETURN(found, EntriesLocked("id = ?", entry.id));
    }
    added = std::move(found.front());
    return absl::OkStatus();
  }));
  return added;
}

absl::StatusOr<JobEntry> JobBooks::Find(absl::string_view id) {
  if (!IsIdPrefix(id)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "job_id has ", id.size(), " bytes, allowed: ", kMinIdPrefix, " to ",
        kIdDigits, " hexadecimal digits, lower case"));
  }
  absl::MutexLock lock(&mutex_);
  HEADWISE_ASSIGN_OR_RETURN(
      std::vector<JobEntry> found,
      EntriesLocked("substr(id, 1, length(?1)) = ?1", id));
  if (found.empty()) {
    return WithFacts(
        absl::NotFoundError(absl::StrCat("job_id: no job ", id)),
        {.resource_type = "selection_job", .resource_name = std::string(id)});
  }
  if (found.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "job_id: ", id, " begins the ids of ", found.size(), " jobs"));
  }
  return std::move(found.front());
}

absl::StatusOr<std::vector<JobEntry>> JobBooks::List() {
  absl::MutexLock lock(&mutex_);
  return EntriesLocked("id <> ?", "");
}

absl::StatusOr<bool> JobBooks::Move(int64_t job,
                                    std::initializer_list<JobState> from,
                                    JobState to, absl::string_view reason) {
  const std::string states =
      absl::StrJoin(from, ", ", [](std::string* out, JobState state) {
        absl::StrAppend(out, NumberOf(state));
      });
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      absl::StrCat("UPDATE jobs SET state = ?, reason = ? WHERE number = ?"
                   " AND state IN (",
                   states, ")"),
      {NumberOf(to), reason, job}));
  return database_->num_changed() > 0;
}

absl::StatusOr<bool> JobBooks::Finish(int64_t job,
                                      absl::string_view result_sha256) {
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(
      database_->Run("UPDATE jobs SET state = ?, reason = '', result_sha256 = ?"
                     " WHERE number = ? AND state = ?",
                     {NumberOf(JobState::kDone), result_sha256, job,
                      NumberOf(JobState::kFinishing)}));
  return database_->num_changed() > 0;
}

absl::StatusOr<std::string> JobBooks::OtherHolderLocked(int64_t job,
                                                        int64_t shard) {
  std::string holder;
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT owner FROM leases WHERE job = ? AND shard = ? AND owner <> ?"
      " AND boot = ? AND expires > ?",
      {job, shard, options_.owner, boot_, NowSeconds()},
      [&holder](const SqlRow& row) {
        holder = row.Text(0);
        return absl::OkStatus();
      }));
  return holder;
}

absl::StatusOr<LeaseAnswer> JobBooks::Lease(int64_t job, int64_t shard) {
  LeaseAnswer answer = LeaseAnswer::kTaken;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_ASSIGN_OR_RETURN(
        const bool is_committed,
        HasRowLocked("SELECT 1 FROM parts WHERE job = ? AND shard = ?",
                     {job, shard}));
    HEADWISE_ASSIGN_OR_RETURN(const std::string holder,
                              OtherHolderLocked(job, shard));
    const bool is_held = !holder.empty() && IsAlive(holder);
    if (is_committed || is_held) {
      answer =
          is_committed ? LeaseAnswer::kIsCommitted : LeaseAnswer::kHeldByOther;
      return absl::OkStatus();
    }
    return database_->Run(
        "INSERT OR REPLACE INTO leases (job, shard, owner, boot, expires)"
        " VALUES (?, ?, ?, ?, ?)",
        {job, shard, options_.owner, boot_,
         NowSeconds() + absl::ToDoubleSeconds(options_.lease)});
  }));
  return answer;
}

absl::StatusOr<JobState> JobBooks::Renew(int64_t job,
                                         double more_running_seconds) {
  const double expires = NowSeconds() + absl::ToDoubleSeconds(options_.lease);
  JobState state = JobState::kCancelled;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "UPDATE leases SET expires = ? WHERE job = ? AND owner = ?",
        {expires, job, options_.owner}));
    HEADWISE_RETURN_IF_ERROR(
        database_->Run("UPDATE jobs SET running_seconds = running_seconds + ?"
                       " WHERE number = ?",
                       {more_running_seconds, job}));
    return database_->Run("SELECT state FROM jobs WHERE number = ?", {job},
                          [&state](const SqlRow& row) {
                            state = static_cast<JobState>(row.Int(0));
                            return absl::OkStatus();
                          });
  }));
  return state;
}

absl::Status JobBooks::Release(int64_t job) {
  absl::MutexLock lock(&mutex_);
  return database_->Run("DELETE FROM leases WHERE job = ? AND owner = ?",
                        {job, options_.owner});
}

absl::StatusOr<std::set<std::string>> JobBooks::LiveOwners(int64_t job) {
  std::set<std::string> owners;
  {
    absl::MutexLock lock(&mutex_);
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "SELECT owner FROM leases WHERE job = ? AND boot = ? AND expires > ?",
        {job, boot_, NowSeconds()}, [&owners](const SqlRow& row) {
          owners.insert(row.Text(0));
          return absl::OkStatus();
        }));
  }
  for (auto owner = owners.begin(); owner != owners.end();) {
    owner = IsAlive(*owner) ? std::next(owner) : owners.erase(owner);
  }
  return owners;
}

}  // namespace headwise
