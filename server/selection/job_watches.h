// Tells clients when a job has changed.

#ifndef HEADWISE_SERVER_SELECTION_JOB_WATCHES_H_
#define HEADWISE_SERVER_SELECTION_JOB_WATCHES_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/selection/job_status.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

inline constexpr size_t kMaxJobWatches = 256;

// One thread looks at the jobs that are watched. Thread-safe.
class JobWatches {
 public:
  using Look = std::function<absl::StatusOr<JobStatus>(const std::string& id)>;
  using Changed = std::function<void(const JobStatus&)>;

  // `look` is called by the thread.
  JobWatches(Look look, const Clock& clock);
  ~JobWatches();

  // As SelectionJobs::Watch; `id` whole. The watch may outlive this object.
  absl::StatusOr<std::unique_ptr<JobWatch>> Add(const std::string& id,
                                                absl::Duration interval,
                                                Changed changed);

 private:
  class Watch;
  class Handle;

  void Loop();
  // When the next one is due; forgets those that are over.
  absl::Duration LookAtDue();

  const Look look_;
  const Clock& clock_;

  absl::Mutex mutex_;
  std::vector<std::shared_ptr<Watch>> watches_ ABSL_GUARDED_BY(mutex_);
  bool has_new_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // after all that it uses
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_WATCHES_H_
