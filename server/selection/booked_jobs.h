// What the books alone tell of jobs, whether or not a server has them open.

#ifndef HEADWISE_SERVER_SELECTION_BOOKED_JOBS_H_
#define HEADWISE_SERVER_SELECTION_BOOKED_JOBS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/job_books.h"
#include "server/selection/job_status.h"

namespace headwise {

// Without domains and flags. `output_root` may be empty: output_dir is then
// the folder's name alone. Errors of the books; DataLoss: a manifest that is
// none.
absl::StatusOr<JobStatus> BookedStatus(JobBooks& books, const JobEntry& entry,
                                       const std::string& output_root);
// Adds domains and flags.
absl::StatusOr<JobStatus> WithDomains(JobBooks& books, const JobEntry& entry,
                                      JobStatus status);

// The jobs of a server's state folder, as they were made, or the one of that
// id (8 or more first digits) with its domains and flags. The note of a job
// that runs says whether a server drives it. NotFound: the folder has no books,
// or they have no such job; else as JobBooks::Open and Find.
absl::StatusOr<std::vector<JobStatus>> ReadBookedJobs(
    const std::string& state_dir, const std::string& output_root,
    absl::string_view id);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_BOOKED_JOBS_H_
