// Keeps a job's leases while it runs here, and knows when it is to stop.

#ifndef HEADWISE_SERVER_SELECTION_JOB_PULSE_H_
#define HEADWISE_SERVER_SELECTION_JOB_PULSE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "server/selection/job_books.h"

namespace headwise {

// One thread beats; Stop is thread-safe.
class JobPulse {
 public:
  // Beats three times in a lease, so that two may come late.
  JobPulse(int64_t job, absl::Duration lease, JobBooks& books,
           const Clock& clock)
      : job_(job),
        interval_(lease / 3),
        books_(books),
        clock_(clock),
        last_(clock.Now()) {}

  void Stop() { is_stopped_ = true; }
  bool is_stopped() const { return is_stopped_; }

  // False once the job is to stop here: after Stop, or when the books have it
  // paused, cancelled or done. Cheap between beats.
  absl::StatusOr<bool> GoesOn() {
    if (is_stopped_) return false;
    const absl::Time now = clock_.Now();
    if (now < next_) return true;
    HEADWISE_ASSIGN_OR_RETURN(
        const JobState state,
        books_.Renew(job_, absl::ToDoubleSeconds(now - last_)));
    last_ = now;
    next_ = now + interval_;
    if (state != JobState::kRunning && state != JobState::kFinishing) Stop();
    return !is_stopped_;
  }

  // Gives the leases back.
  absl::Status End() {
    const double seconds = absl::ToDoubleSeconds(clock_.Now() - last_);
    HEADWISE_RETURN_IF_ERROR(books_.Renew(job_, seconds).status());
    return books_.Release(job_);
  }

  absl::Duration UntilNext() const {
    return std::max(absl::ZeroDuration(), next_ - clock_.Now());
  }

 private:
  const int64_t job_;
  const absl::Duration interval_;
  JobBooks& books_;
  const Clock& clock_;
  absl::Time last_;
  absl::Time next_ = absl::InfinitePast();
  std::atomic<bool> is_stopped_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_PULSE_H_
