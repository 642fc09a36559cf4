// How SelectionJobs is made: threads that drive jobs of the books.

#ifndef HEADWISE_SERVER_SELECTION_SELECTION_JOBS_IMPL_H_
#define HEADWISE_SERVER_SELECTION_SELECTION_JOBS_IMPL_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/selection/job_books.h"
#include "server/selection/job_folder.h"
#include "server/selection/job_watches.h"
#include "server/selection/owner_lock.h"
#include "server/selection/selection_job.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

class SelectionJobsImpl final : public SelectionJobs {
 public:
  // Who this server is for others on its state: owner of the books' leases and
  // writer of its files.
  struct Owner {
    std::string name;
    std::unique_ptr<OwnerLock> lock;
  };
  // `options` with folders as real paths.
  SelectionJobsImpl(SelectionJobsOptions options, Owner owner,
                    std::unique_ptr<JobBooks> books, const Clock& clock);
  ~SelectionJobsImpl() override;

  absl::StatusOr<JobStatus> Create(const JobSpec& spec,
                                   const PlanProgress& progress) override;
  absl::StatusOr<JobStatus> Get(absl::string_view id) const override;
  absl::StatusOr<std::vector<JobStatus>> List() const override;
  absl::StatusOr<DomainSketches> Sketches(absl::string_view id) const override;
  absl::StatusOr<std::vector<JobPart>> Parts(
      absl::string_view id) const override;
  absl::StatusOr<JobStatus> Pause(absl::string_view id,
                                  absl::string_view reason) override;
  absl::StatusOr<JobStatus> Resume(absl::string_view id) override;
  absl::StatusOr<JobStatus> Cancel(absl::string_view id) override;
  absl::StatusOr<std::unique_ptr<JobWatch>> Watch(
      absl::string_view id, absl::Duration interval,
      std::function<void(const JobStatus&)> changed) override;

 private:
  absl::StatusOr<std::string> InputRoot(const std::string& name) const;
  // Makes the folder and the entry, or runs a cancelled job again.
  absl::StatusOr<JobEntry> Enter(const JobManifest& manifest,
                                 const std::string& output);
  absl::StatusOr<JobEntry> EnterNew(const JobManifest& manifest,
                                    JobEntry entry);
  absl::StatusOr<JobStatus> StatusOf(const JobEntry& entry) const;
  std::string OutputDir(const JobEntry& entry) const;
  // FailedPrecondition: the state is final.
  absl::StatusOr<JobEntry> MoveOpen(absl::string_view id,
                                    std::initializer_list<JobState> from,
                                    JobState to, absl::string_view reason);

  void DriveLoop();
  // Null: there is nothing to do, or this object ends.
  std::shared_ptr<SelectionJob> TakeJob(JobEntry& entry);
  void Drive(const JobEntry& entry, SelectionJob& job);
  // Returns when the job is not driven here any more, or after a while: who
  // paused it wants its files to be closed.
  void StopDriving(int64_t number);

  const SelectionJobsOptions options_;
  const Owner owner_;
  const std::unique_ptr<JobBooks> books_;
  const Clock& clock_;

  mutable absl::Mutex mutex_;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_entering_ ABSL_GUARDED_BY(mutex_) = false;  // one Enter at a time
  std::map<int64_t, std::shared_ptr<SelectionJob>> driven_
      ABSL_GUARDED_BY(mutex_);
  // Jobs that can't go on and whose pause the books could not take: why.
  std::map<int64_t, std::string> stuck_ ABSL_GUARDED_BY(mutex_);

  // After all that the threads use.
  std::unique_ptr<JobWatches> watches_;
  std::vector<std::thread> drivers_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SELECTION_JOBS_IMPL_H_
