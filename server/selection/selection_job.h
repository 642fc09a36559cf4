// Drives one job to its end.

#ifndef HEADWISE_SERVER_SELECTION_SELECTION_JOB_H_
#define HEADWISE_SERVER_SELECTION_SELECTION_JOB_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/selection/answer_inbox.h"
#include "server/selection/job_books.h"
#include "server/selection/job_folder.h"
#include "server/selection/job_live.h"
#include "server/selection/job_manifest.h"
#include "server/selection/job_pulse.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

class SelectionJob {
 public:
  struct Place {
    std::string input_root;  // folder of the job's input
    JobFolder folder;
    std::string owner;     // of the books' leases; also DurableFile's writer
    std::string temp_dir;  // for sorts
  };

  // `options`, `books` and `clock` outlive it.
  SelectionJob(const JobEntry& entry, Place place,
               const SelectionJobsOptions& options, JobBooks& books,
               const Clock& clock);

  // Until the job is done, has been stopped, or is paused or cancelled in the
  // books. An error is why it can't go on.
  absl::Status Run();

  // Thread-safe, as is live().
  void Stop();
  JobLive live() const { return live_.Get(); }

 private:
  absl::Status RunUntilDone();
  // False: the pulse has ended.
  absl::StatusOr<bool> ScoreShards(const JobManifest& manifest);
  // Parts whose files are gone or cut are to be scored again.
  absl::Status CheckParts();
  absl::StatusOr<std::vector<bool>> CommittedShards();
  // Null: the pulse has ended.
  absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeScorer(
      const JobManifest& manifest);

  const JobEntry entry_;
  const Place place_;
  const SelectionJobsOptions& options_;
  JobBooks& books_;
  const Clock& clock_;
  JobPulse pulse_;
  JobLiveBoard live_;
  const std::shared_ptr<AnswerInbox> inbox_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SELECTION_JOB_H_
