#include "server/selection/selection_jobs.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/selection/input_root.h"
#include "server/selection/owner_lock.h"
#include "server/selection/selection_jobs_impl.h"

namespace headwise {
namespace {

constexpr size_t kOwnerBytes = 16;

absl::StatusOr<std::string> RealFolder(absl::string_view what,
                                       const std::string& path) {
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);
  if (!error && std::filesystem::is_directory(real, error)) {
    return real.string();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": ", path, " is no folder", error ? ": " : "",
                   error ? error.message() : ""));
}

absl::Status CheckAtLeast(absl::string_view what, int64_t value, int64_t min) {
  if (value >= min) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " is ", value, ", allowed: ", min, " or more"));
}

absl::Status CheckOptions(SelectionJobsOptions& options) {
  HEADWISE_RETURN_IF_ERROR(CheckAtLeast("max_jobs", options.max_jobs, 1));
  HEADWISE_RETURN_IF_ERROR(CheckAtLeast("max_driven", options.max_driven, 1));
  HEADWISE_RETURN_IF_ERROR(
      CheckAtLeast("max_open_shards", options.max_open_shards, 1));
  HEADWISE_RETURN_IF_ERROR(
      CheckAtLeast("max_text_bytes", options.max_text_bytes, 1));
  if (options.make_scorer == nullptr) {
    return absl::InvalidArgumentError("make_scorer is empty");
  }
  if (options.lease <= absl::ZeroDuration() ||
      options.min_back_off <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "lease or min_back_off is 0 s or less, allowed: more");
  }
  for (auto& [name, path] : options.input_roots) {
    HEADWISE_RETURN_IF_ERROR(CheckInputName("input root", name));
    HEADWISE_ASSIGN_OR_RETURN(
        path, RealFolder(absl::StrCat("input root ", name), path));
  }
  HEADWISE_ASSIGN_OR_RETURN(options.output_root,
                            RealFolder("output root", options.output_root));
  std::error_code error;
  std::filesystem::create_directories(options.state_dir, error);
  HEADWISE_ASSIGN_OR_RETURN(options.state_dir,
                            RealFolder("state folder", options.state_dir));
  return absl::OkStatus();
}

}  // namespace

const char* JobStateName(JobState state) {
  switch (state) {
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kPaused:
      return "PAUSED";
    case JobState::kFinishing:
      return "FINISHING";
    case JobState::kDone:
      return "DONE";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "UNKNOWN";
}

absl::StatusOr<std::unique_ptr<SelectionJobs>> SelectionJobs::Open(
    SelectionJobsOptions options, const Clock& clock) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options));
  std::string random(kOwnerBytes, '\0');
  if (getrandom(random.data(), random.size(), 0) !=
      static_cast<ssize_t>(random.size())) {
    return absl::ErrnoToStatus(errno, "random bytes");
  }
  const std::string owner = absl::BytesToHexString(random);
  HEADWISE_ASSIGN_OR_RETURN(auto lock,
                            OwnerLock::Take(options.state_dir, owner));
  JobBooks::Options books_options;
  books_options.path = absl::StrCat(options.state_dir, "/", kBooksName);
  books_options.owner = owner;
  books_options.lease = options.lease;
  books_options.is_alive = [folder = options.state_dir,
                            owner](const std::string& other) {
    // One's own lock must not be tried: unlocking it would end it.
    return other == owner || OwnerLock::IsAlive(folder, other);
  };
  HEADWISE_ASSIGN_OR_RETURN(auto books,
                            JobBooks::Open(std::move(books_options), clock));
  return std::make_unique<SelectionJobsImpl>(
      std::move(options),
      SelectionJobsImpl::Owner{.name = owner, .lock = std::move(lock)},
      std::move(books), clock);
}

}  // namespace headwise
