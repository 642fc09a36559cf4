// The threads of SelectionJobs, and who drives which job.

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/selection/selection_jobs_impl.h"

namespace headwise {
namespace {

// Another server may have made or resumed a job.
constexpr absl::Duration kLookInterval = absl::Seconds(1);
// A driver stops between two documents; syncing a file may take a while.
constexpr absl::Duration kMaxStopTime = absl::Seconds(10);

bool IsToBeDriven(const JobEntry& entry) {
  return entry.state == JobState::kRunning ||
         entry.state == JobState::kFinishing;
}

}  // namespace

SelectionJobsImpl::SelectionJobsImpl(SelectionJobsOptions options, Owner owner,
                                     std::unique_ptr<JobBooks> books,
                                     const Clock& clock)
    : options_(std::move(options)),
      owner_(std::move(owner)),
      books_(std::move(books)),
      clock_(clock),
      watches_(std::make_unique<JobWatches>(
          [this](const std::string& id) { return Get(id); }, clock)) {
  for (int64_t i = 0; i < options_.max_driven; ++i) {
    drivers_.emplace_back([this] { DriveLoop(); });
  }
}

SelectionJobsImpl::~SelectionJobsImpl() {
  watches_.reset();
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
    for (const auto& [number, job] : driven_) job->Stop();
  }
  for (std::thread& driver : drivers_) driver.join();
}

void SelectionJobsImpl::DriveLoop() {
  while (true) {
    JobEntry entry;
    while (const auto job = TakeJob(entry)) Drive(entry, *job);
    absl::MutexLock lock(&mutex_);
    const auto has_news = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return is_stopping_ || has_news_;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&has_news), kLookInterval);
    if (is_stopping_) return;
    has_news_ = false;
  }
}

std::shared_ptr<SelectionJob> SelectionJobsImpl::TakeJob(JobEntry& entry) {
  const auto entries = books_->List();
  // The books may be there again the next time.
  if (!entries.ok()) return nullptr;
  absl::MutexLock lock(&mutex_);
  if (is_stopping_) return nullptr;
  for (const JobEntry& candidate : *entries) {
    if (!IsToBeDriven(candidate) || driven_.count(candidate.number) > 0 ||
        stuck_.count(candidate.number) > 0) {
      continue;
    }
    SelectionJob::Place place = {.folder = JobFolder(OutputDir(candidate)),
                                 .owner = owner_.name,
                                 .temp_dir = options_.state_dir};
    const auto manifest = ParseManifest(candidate.head);
    if (!manifest.ok()) {
      stuck_[candidate.number] = std::string(manifest.status().message());
      continue;
    }
    const auto root = InputRoot(manifest->input.root);
    if (!root.ok()) {
      stuck_[candidate.number] = std::string(root.status().message());
      continue;
    }
    place.input_root = *root;
    entry = candidate;
    auto job = std::make_shared<SelectionJob>(candidate, std::move(place),
                                              options_, *books_, clock_);
    driven_[candidate.number] = job;
    return job;
  }
  return nullptr;
}

void SelectionJobsImpl::Drive(const JobEntry& entry, SelectionJob& job) {
  const absl::Status status = job.Run();
  absl::StatusOr<bool> is_told = true;
  if (!status.ok()) {
    is_told =
        books_->Move(entry.number, {JobState::kRunning, JobState::kFinishing},
                     JobState::kPaused, status.message());
  }
  absl::MutexLock lock(&mutex_);
  driven_.erase(entry.number);
  has_news_ = true;
  if (!is_told.ok()) {
    stuck_[entry.number] =
        absl::StrCat(status.message(), "; and: ", is_told.status().message());
  }
}

void SelectionJobsImpl::StopDriving(int64_t number) {
  absl::MutexLock lock(&mutex_);
  const auto driven = driven_.find(number);
  if (driven == driven_.end()) return;
  driven->second->Stop();
  const auto is_free = [this, number]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return driven_.count(number) == 0;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&is_free), kMaxStopTime);
}

}  // namespace headwise
