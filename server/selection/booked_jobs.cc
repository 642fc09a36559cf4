#include "server/selection/booked_jobs.h"

#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "server/selection/owner_lock.h"

namespace headwise {

absl::StatusOr<JobStatus> BookedStatus(JobBooks& books, const JobEntry& entry,
                                       const std::string& output_root) {
  JobStatus status;
  status.id = entry.id;
  status.state = entry.state;
  status.reason = entry.reason;
  HEADWISE_ASSIGN_OR_RETURN(status.manifest, ParseManifest(entry.head));
  status.output = entry.output;
  status.output_dir = output_root.empty()
                          ? entry.output
                          : absl::StrCat(output_root, "/", entry.output);
  status.num_shards = entry.num_shards;
  status.num_shards_done = entry.num_shards_done;
  status.input_bytes = entry.input_bytes;
  status.input_bytes_done = entry.input_bytes_done;
  status.running_seconds = entry.running_seconds;
  status.result_sha256 = entry.result_sha256;
  HEADWISE_ASSIGN_OR_RETURN(status.total, books.Total(entry.number));
  return status;
}

absl::StatusOr<JobStatus> WithDomains(JobBooks& books, const JobEntry& entry,
                                      JobStatus status) {
  HEADWISE_ASSIGN_OR_RETURN(status.domains, books.Domains(entry.number));
  HEADWISE_ASSIGN_OR_RETURN(status.flags, books.Flags(entry.number));
  return status;
}

absl::StatusOr<std::vector<JobStatus>> ReadBookedJobs(
    const std::string& state_dir, const std::string& output_root,
    absl::string_view id) {
  JobBooks::Options options;
  options.path = absl::StrCat(state_dir, "/", kBooksName);
  options.owner = "reader";  // takes no lease
  options.is_alive = [&state_dir](const std::string& owner) {
    return OwnerLock::IsAlive(state_dir, owner);
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(options.path, error)) {
    return absl::NotFoundError(
        absl::StrCat(state_dir, " holds no ", kBooksName));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const auto books, JobBooks::Open(std::move(options), Clock::Monotonic()));
  std::vector<JobEntry> entries;
  if (id.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(entries, books->List());
  } else {
    HEADWISE_ASSIGN_OR_RETURN(entries.emplace_back(), books->Find(id));
  }
  std::vector<JobStatus> jobs;
  for (const JobEntry& entry : entries) {
    HEADWISE_ASSIGN_OR_RETURN(JobStatus status,
                              BookedStatus(*books, entry, output_root));
    if (entry.state == JobState::kRunning ||
        entry.state == JobState::kFinishing) {
      HEADWISE_ASSIGN_OR_RETURN(const std::set<std::string> owners,
                                books->LiveOwners(entry.number));
      status.note =
          owners.empty() ? "no server drives it now" : "a server drives it";
    }
    if (!id.empty()) {
      HEADWISE_ASSIGN_OR_RETURN(status,
                                WithDomains(*books, entry, std::move(status)));
    }
    jobs.push_back(std::move(status));
  }
  return jobs;
}

}  // namespace headwise
