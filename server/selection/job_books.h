// What is known of jobs across crashes: one SQLite file for a server, or for
// several on one machine.

#ifndef HEADWISE_SERVER_SELECTION_JOB_BOOKS_H_
#define HEADWISE_SERVER_SELECTION_JOB_BOOKS_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/selection/job_status.h"
#include "server/selection/part_totals.h"
#include "server/selection/shard_output.h"
#include "server/books/sql_database.h"

namespace headwise {

// In a server's state folder.
inline constexpr char kBooksName[] = "jobs.sqlite";

struct JobEntry {
  int64_t number = 0;  // rises as jobs are made; given by the books
  std::string id;
  JobState state = JobState::kRunning;
  std::string reason;
  std::string head;    // ManifestHeadJson
  std::string output;  // folder below the output root
  int64_t num_shards = 0;
  int64_t input_bytes = 0;
  int64_t num_shards_done = 0;
  int64_t input_bytes_done = 0;
  double running_seconds = 0.0;
  std::string result_sha256;
};

struct PartEntry {
  int64_t shard = 0;
  PartFile file;
  int64_t input_bytes = 0;
  PartTotals totals;  // domains and flags are not read back
};

struct DomainTotals {
  std::map<std::string, DomainProgress> named;  // first kMaxToldDomains by name
  DomainProgress others;
  int64_t num_others = 0;  // domains
};

enum class LeaseAnswer { kTaken, kHeldByOther, kIsCommitted };

// A shard belongs to who leased it, until that one has not renewed its leases
// for a while; what is done with a lease that was lost is refused. A lease of
// an earlier start of the machine counts for nothing: the clock began anew.
//
// Each call is one transaction, synced before it returns. Errors as
// SqlDatabase. Thread-safe.
class JobBooks {
 public:
  struct Options {
    std::string path;
    std::string owner;  // of leases; no other has it
    absl::Duration lease = absl::Seconds(15);
    // False for an owner that is known to be dead: its leases count for
    // nothing. Empty: nobody is.
    std::function<bool(const std::string& owner)> is_alive;
  };

  // FailedPrecondition: books of another version. The clock must be the
  // machine's own, the same for all who open the file.
  static absl::StatusOr<std::unique_ptr<JobBooks>> Open(Options options,
                                                        const Clock& clock);

  // The job of that id, entered now if it is not there. If `max_jobs` are, the
  // oldest one in a final state is forgotten; ResourceExhausted: none is in
  // such a state. Of `entry`, number and what counts progress are not used.
  absl::StatusOr<JobEntry> Add(const JobEntry& entry, int64_t max_jobs);
  // By the whole id or 8 or more first digits. InvalidArgument: fewer, or the
  // digits of several; NotFound.
  absl::StatusOr<JobEntry> Find(absl::string_view id);
  absl::StatusOr<std::vector<JobEntry>> List();  // by number

  // False: the job is in none of the states `from`, and stays as it is.
  absl::StatusOr<bool> Move(int64_t job, std::initializer_list<JobState> from,
                            JobState to, absl::string_view reason);
  // The state goes from kFinishing to kDone. False: as Move.
  absl::StatusOr<bool> Finish(int64_t job, absl::string_view result_sha256);

  // `shard` may be num_shards: the right to finish the job.
  absl::StatusOr<LeaseAnswer> Lease(int64_t job, int64_t shard);
  // Whether Commit of the shard would be taken now.
  absl::StatusOr<bool> Holds(int64_t job, int64_t shard);
  // All leases that this owner has of the job. Returns the job's state.
  absl::StatusOr<JobState> Renew(int64_t job, double more_running_seconds);
  absl::Status Release(int64_t job);
  absl::StatusOr<std::set<std::string>> LiveOwners(int64_t job);

  // False: the lease is lost, or the job does not run. The lease ends.
  // `sketches`: the part's.
  absl::StatusOr<bool> Commit(int64_t job, const PartEntry& part,
                              const DomainSketches& sketches);
  // In place of the part that is there; the lease of num_shards is needed.
  absl::StatusOr<bool> Replace(int64_t job, const PartEntry& part);
  // The shard is to be scored again. No effect if it is not there.
  absl::Status Drop(int64_t job, int64_t shard);
  absl::Status Parts(int64_t job,
                     const std::function<absl::Status(PartEntry)>& take);

  // What JobStatus has of them.
  absl::StatusOr<std::map<std::string, DomainProgress>> Domains(int64_t job);
  absl::StatusOr<std::map<uint32_t, int64_t>> Flags(int64_t job);
  absl::StatusOr<DomainProgress> Total(int64_t job);
  // From the parts: whatever the order in which they came.
  absl::StatusOr<DomainTotals> TotalsByDomain(int64_t job);

  absl::StatusOr<DomainSketches> Sketches(int64_t job);
  // True after a part was replaced or dropped, until SetSketches.
  absl::StatusOr<bool> HasStaleSketches(int64_t job);
  absl::Status SetSketches(int64_t job, const DomainSketches& sketches);

 private:
  JobBooks(Options options, std::string boot, const Clock& clock,
           std::unique_ptr<SqlDatabase> database);

  double NowSeconds() const;
  absl::Status PrepareLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<JobEntry>> EntriesLocked(absl::string_view where,
                                                      absl::string_view value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeRoomLocked(int64_t max_jobs)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<bool> HasRowLocked(absl::string_view sql,
                                    std::initializer_list<SqlValue> values)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whom a lease that counts names, or "".
  absl::StatusOr<std::string> OtherHolderLocked(int64_t job, int64_t shard)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsAlive(const std::string& owner) const {
    return options_.is_alive == nullptr || options_.is_alive(owner);
  }
  absl::StatusOr<bool> HoldsLocked(int64_t job, int64_t shard, JobState state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EndLeaseLocked(int64_t job, int64_t shard)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status InsertPartLocked(int64_t job, const PartEntry& part)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DeletePartLocked(int64_t job, int64_t shard)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ToldNameLocked(int64_t job, std::string& domain)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AddDomainLocked(int64_t job, const std::string& domain,
                               const DomainProgress& progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MergeSketchLocked(int64_t job, const std::string& domain,
                                 QuantileSketch sketch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const std::string boot_;  // names this start of the machine
  const Clock& clock_;

  absl::Mutex mutex_;
  const std::unique_ptr<SqlDatabase> database_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_BOOKS_H_
