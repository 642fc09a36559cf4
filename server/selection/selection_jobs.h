// The selection jobs of a server: made once, driven in the background, going on
// where they were after a crash.
//
// A job's folder, byte for byte a function of its manifest:
//   manifest.json                canonical (job_manifest.h); its SHA-256 is the
//                                job's id
//   rows/part-000000.jsonl.zst   one per shard, a row per document in the order
//                                of the input (row_codec.h)
//   result.json                  at the end: parts with rows, tokens and
//                                SHA-256; totals; the result's hash
// Each file appears whole: written under another name, synced, renamed, and
// then entered in the books (job_books.h). A crash loses shards under way and
// nothing else.

#ifndef HEADWISE_SERVER_SELECTION_SELECTION_JOBS_H_
#define HEADWISE_SERVER_SELECTION_SELECTION_JOBS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/selection/document_scorer.h"
#include "server/selection/input_files.h"
#include "server/selection/job_manifest.h"
#include "server/selection/job_status.h"

namespace headwise {

// Makes the scorer of a job's masked plan and scoring; shards are not filled
// in. Called by threads of SelectionJobs; the scorer lives as long as the job
// runs. Unavailable: asked again after a while; others pause the job.
using MakeScorer =
    std::function<absl::StatusOr<std::unique_ptr<DocumentScorer>>(
        const JobManifest& manifest)>;

struct SelectionJobsOptions {
  std::string state_dir;  // of the books; made where it isn't there
  std::map<std::string, std::string> input_roots;  // name -> folder
  std::string output_root;                         // a folder
  MakeScorer make_scorer;
  // That the books keep; then the oldest one in a final state is forgotten, and
  // its files stay.
  int64_t max_jobs = 1000;
  int64_t max_driven = 2;       // at one time, others wait; a thread each
  int64_t max_open_shards = 4;  // of a job
  // Texts of a job that are under way, each held twice; one is always let in.
  int64_t max_text_bytes = int64_t{256} << 20;
  // A shard that its server has not been heard of for so long is another's; of
  // a server that has ended, at once.
  absl::Duration lease = absl::Seconds(15);
  // While the model is Unavailable: waits between tries, doubling.
  absl::Duration min_back_off = absl::Milliseconds(250);
  absl::Duration max_back_off = absl::Seconds(30);
};

struct JobSpec {
  // Without shards; input.root is the name of an input root.
  JobManifest manifest;
  // Folder below the output root; empty: the job's id. No part of the id.
  std::string output;
};

struct JobPart {
  int64_t shard = 0;
  std::string file;  // below the job's folder
  int64_t file_bytes = 0;
  int64_t num_rows = 0;
  int64_t num_tokens = 0;
  std::string sha256;  // of the file
};

// Calls stop when it is destroyed, which waits for one that is being made; so
// not to be destroyed by its own callback.
class JobWatch {
 public:
  virtual ~JobWatch() = default;
};

// Thread-safe. Ids may be given by 8 or more first digits. Errors name the
// field as in selection.proto: InvalidArgument, NotFound (no such job, no such
// root); others are told at the function. Several servers may have one
// state_dir on one machine: they share the shards of a job.
class SelectionJobs {
 public:
  // Goes on with the jobs of the books. Errors: InvalidArgument (an option),
  // FailedPrecondition (the books are of another version), Unavailable or
  // DataLoss (the books can't be read).
  static absl::StatusOr<std::unique_ptr<SelectionJobs>> Open(
      SelectionJobsOptions options, const Clock& clock = Clock::Monotonic());
  // Drops the shards under way. The scorers are gone afterwards.
  virtual ~SelectionJobs() = default;

  // Reads all input once for its hash, on the caller's thread, then starts the
  // job. The same spec over the same bytes gives the same job, in whatever
  // state it is; one that was cancelled runs again and keeps its parts. Errors:
  // Cancelled (by `progress`), AlreadyExists (`output` is not empty and the job
  // writes to another folder), FailedPrecondition (the folder holds another
  // job, or files that are no job's), ResourceExhausted (max_jobs that have not
  // ended), those of
  // PlanShards.
  virtual absl::StatusOr<JobStatus> Create(const JobSpec& spec,
                                           const PlanProgress& progress) = 0;

  virtual absl::StatusOr<JobStatus> Get(absl::string_view id) const = 0;
  // As created; without domains and flags.
  virtual absl::StatusOr<std::vector<JobStatus>> List() const = 0;
  virtual absl::StatusOr<DomainSketches> Sketches(
      absl::string_view id) const = 0;
  // Those of the committed shards, in order. Before kDone a part may still be
  // written again, for duplicate ids.
  virtual absl::StatusOr<std::vector<JobPart>> Parts(
      absl::string_view id) const = 0;

  // Shards under way are dropped. FailedPrecondition: the state is final. No
  // effect on a paused job but for the reason.
  virtual absl::StatusOr<JobStatus> Pause(absl::string_view id,
                                          absl::string_view reason) = 0;
  // No effect on a job that runs. FailedPrecondition: the state is final.
  virtual absl::StatusOr<JobStatus> Resume(absl::string_view id) = 0;
  // Parts that are committed stay, nothing half-written does. No effect on a
  // job in a final state.
  virtual absl::StatusOr<JobStatus> Cancel(absl::string_view id) = 0;

  // Calls `changed` soon with the status now and whenever it has changed, at
  // most every `interval`, from one thread for all watches: it must not block.
  // The call with a final state is the last. ResourceExhausted: 256 watches.
  virtual absl::StatusOr<std::unique_ptr<JobWatch>> Watch(
      absl::string_view id, absl::Duration interval,
      std::function<void(const JobStatus&)> changed) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SELECTION_JOBS_H_
