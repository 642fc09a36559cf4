#include "server/selection/selection_jobs_impl.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"
#include "server/selection/booked_jobs.h"
#include "server/selection/input_root.h"
#include "server/selection/shard_output.h"

namespace headwise {
namespace {

constexpr size_t kMaxReasonBytes = 1024;

// Of the rate at which tokens come, the rest of the input.
std::optional<double> RemainingSeconds(const JobStatus& status,
                                       int64_t num_open_tokens) {
  if (status.tokens_per_second <= 0.0 || status.total.num_tokens <= 0 ||
      status.input_bytes_done <= 0) {
    return std::nullopt;
  }
  const double tokens_per_byte = static_cast<double>(status.total.num_tokens) /
                                 static_cast<double>(status.input_bytes_done);
  const auto bytes =
      static_cast<double>(status.input_bytes - status.input_bytes_done);
  const double tokens =
      bytes * tokens_per_byte - static_cast<double>(num_open_tokens);
  return std::max(0.0, tokens) / status.tokens_per_second;
}

absl::Status IsFinalError(const JobEntry& entry) {
  return absl::FailedPreconditionError(
      absl::StrCat("job ", entry.id, " is ", JobStateName(entry.state)));
}

}  // namespace

absl::StatusOr<std::string> SelectionJobsImpl::InputRoot(
    const std::string& name) const {
  const auto root = options_.input_roots.find(name);
  if (root != options_.input_roots.end()) return root->second;
  return WithFacts(
      absl::NotFoundError(absl::StrCat("root: no input root is called ",
                                       QuotedInputName(name))),
      {.resource_type = "input_root", .resource_name = name});
}

std::string SelectionJobsImpl::OutputDir(const JobEntry& entry) const {
  return absl::StrCat(options_.output_root, "/", entry.output);
}

absl::StatusOr<JobStatus> SelectionJobsImpl::Create(
    const JobSpec& spec, const PlanProgress& progress) {
  JobManifest manifest = spec.manifest;
  manifest.shards.clear();
  HEADWISE_RETURN_IF_ERROR(CheckManifest(manifest));
  if (!spec.output.empty()) {
    HEADWISE_RETURN_IF_ERROR(CheckInputName("output", spec.output));
  }
  InputOptions input = manifest.input;
  HEADWISE_ASSIGN_OR_RETURN(input.root, InputRoot(manifest.input.root));
  HEADWISE_ASSIGN_OR_RETURN(manifest.shards, PlanShards(input, progress));
  HEADWISE_RETURN_IF_ERROR(CheckManifest(manifest));

  {
    absl::MutexLock lock(&mutex_);
    const auto is_free = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return !is_entering_;
    };
    mutex_.Await(absl::Condition(&is_free));
    is_entering_ = true;
  }
  const absl::StatusOr<JobEntry> entry = Enter(manifest, spec.output);
  {
    absl::MutexLock lock(&mutex_);
    is_entering_ = false;
    has_news_ = true;
  }
  if (!entry.ok()) return entry.status();
  return Get(entry->id);
}

absl::StatusOr<JobEntry> SelectionJobsImpl::Enter(const JobManifest& manifest,
                                                  const std::string& output) {
  JobEntry entry;
  entry.id = JobId(manifest);
  entry.output = output.empty() ? entry.id : output;
  const absl::StatusOr<JobEntry> found = books_->Find(entry.id);
  if (absl::IsNotFound(found.status())) {
    return EnterNew(manifest, std::move(entry));
  }
  HEADWISE_RETURN_IF_ERROR(found.status());
  if (!output.empty() && output != found->output) {
    return absl::AlreadyExistsError(absl::StrCat(
        "output: job ", entry.id, " writes to ", QuotedInputName(found->output),
        ", not to ", QuotedInputName(output)));
  }
  if (found->state != JobState::kCancelled) return *found;
  // Its folder may be gone by now.
  HEADWISE_ASSIGN_OR_RETURN(
      JobFolder folder, JobFolder::Make(options_.output_root, found->output));
  HEADWISE_RETURN_IF_ERROR(folder.Claim(manifest, owner_.name));
  HEADWISE_RETURN_IF_ERROR(
      books_
          ->Move(found->number, {JobState::kCancelled}, JobState::kRunning, "")
          .status());
  return *found;
}

absl::StatusOr<JobEntry> SelectionJobsImpl::EnterNew(
    const JobManifest& manifest, JobEntry entry) {
  entry.head = ManifestHeadJson(manifest);
  entry.num_shards = static_cast<int64_t>(manifest.shards.size());
  for (const InputShard& shard : manifest.shards) {
    entry.input_bytes += shard.bytes();
  }
  HEADWISE_ASSIGN_OR_RETURN(
      JobFolder folder, JobFolder::Make(options_.output_root, entry.output));
  HEADWISE_RETURN_IF_ERROR(folder.Claim(manifest, owner_.name));
  return books_->Add(entry, options_.max_jobs);
}

absl::StatusOr<JobStatus> SelectionJobsImpl::StatusOf(
    const JobEntry& entry) const {
  HEADWISE_ASSIGN_OR_RETURN(JobStatus status,
                            BookedStatus(*books_, entry, options_.output_root));
  if (status.state != JobState::kRunning &&
      status.state != JobState::kFinishing) {
    return status;
  }
  absl::MutexLock lock(&mutex_);
  const auto driven = driven_.find(entry.number);
  if (const auto stuck = stuck_.find(entry.number); stuck != stuck_.end()) {
    status.state = JobState::kPaused;
    status.reason = stuck->second;
  } else if (driven != driven_.end()) {
    const JobLive live = driven->second->live();
    status.note = live.note;
    status.tokens_per_second = live.tokens_per_second;
    status.remaining_seconds = RemainingSeconds(status, live.num_open_tokens);
  } else if (static_cast<int64_t>(driven_.size()) >= options_.max_driven) {
    status.note = absl::StrCat("waits for one of ", driven_.size(),
                               " other jobs to end or to be paused");
  }
  return status;
}

absl::StatusOr<JobStatus> SelectionJobsImpl::Get(absl::string_view id) const {
  HEADWISE_ASSIGN_OR_RETURN(const JobEntry entry, books_->Find(id));
  HEADWISE_ASSIGN_OR_RETURN(JobStatus status, StatusOf(entry));
  return WithDomains(*books_, entry, std::move(status));
}

absl::StatusOr<std::vector<JobStatus>> SelectionJobsImpl::List() const {
  HEADWISE_ASSIGN_OR_RETURN(const auto entries, books_->List());
  std::vector<JobStatus> all;
  for (const JobEntry& entry : entries) {
    HEADWISE_ASSIGN_OR_RETURN(all.emplace_back(), StatusOf(entry));
  }
  return all;
}

absl::StatusOr<DomainSketches> SelectionJobsImpl::Sketches(
    absl::string_view id) const {
  HEADWISE_ASSIGN_OR_RETURN(const JobEntry entry, books_->Find(id));
  return books_->Sketches(entry.number);
}

absl::StatusOr<std::vector<JobPart>> SelectionJobsImpl::Parts(
    absl::string_view id) const {
  HEADWISE_ASSIGN_OR_RETURN(const JobEntry entry, books_->Find(id));
  std::vector<JobPart> parts;
  HEADWISE_RETURN_IF_ERROR(
      books_->Parts(entry.number, [&parts](const PartEntry& part) {
        JobPart& told = parts.emplace_back();
        told.shard = part.shard;
        told.file = absl::StrCat("rows/", PartName(part.shard));
        told.file_bytes = part.file.num_bytes;
        told.num_rows = part.file.num_rows;
        told.num_tokens = part.totals.total.num_tokens;
        told.sha256 = part.file.sha256;
        return absl::OkStatus();
      }));
  return parts;
}

absl::StatusOr<JobEntry> SelectionJobsImpl::MoveOpen(
    absl::string_view id, std::initializer_list<JobState> from, JobState to,
    absl::string_view reason) {
  HEADWISE_ASSIGN_OR_RETURN(JobEntry entry, books_->Find(id));
  HEADWISE_ASSIGN_OR_RETURN(
      const bool has_moved,
      books_->Move(entry.number, from, to, reason.substr(0, kMaxReasonBytes)));
  if (!has_moved) {
    HEADWISE_ASSIGN_OR_RETURN(entry, books_->Find(id));
    if (IsFinal(entry.state)) return IsFinalError(entry);
  }
  absl::MutexLock lock(&mutex_);
  stuck_.erase(entry.number);
  has_news_ = true;
  return entry;
}

absl::StatusOr<JobStatus> SelectionJobsImpl::Pause(absl::string_view id,
                                                   absl::string_view reason) {
  HEADWISE_ASSIGN_OR_RETURN(
      const JobEntry entry,
      MoveOpen(id,
               {JobState::kRunning, JobState::kFinishing, JobState::kPaused},
               JobState::kPaused, reason));
  StopDriving(entry.number);
  return Get(entry.id);
}

absl::StatusOr<JobStatus> SelectionJobsImpl::Resume(absl::string_view id) {
  HEADWISE_ASSIGN_OR_RETURN(
      const JobEntry entry,
      MoveOpen(id, {JobState::kPaused}, JobState::kRunning, ""));
  return Get(entry.id);
}

absl::StatusOr<JobStatus> SelectionJobsImpl::Cancel(absl::string_view id) {
  const auto entry = MoveOpen(
      id, {JobState::kRunning, JobState::kFinishing, JobState::kPaused},
      JobState::kCancelled, "");
  if (absl::IsFailedPrecondition(entry.status())) return Get(id);
  HEADWISE_RETURN_IF_ERROR(entry.status());
  StopDriving(entry->number);
  // Also what a server that was killed has left; one that lives may not commit
  // its own any more.
  const absl::Status removed =
      JobFolder(OutputDir(*entry)).RemoveLeftovers([](absl::string_view) {
        return false;
      });
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  return Get(entry->id);
}

absl::StatusOr<std::unique_ptr<JobWatch>> SelectionJobsImpl::Watch(
    absl::string_view id, absl::Duration interval,
    std::function<void(const JobStatus&)> changed) {
  HEADWISE_ASSIGN_OR_RETURN(const JobEntry entry, books_->Find(id));
  return watches_->Add(entry.id, interval, std::move(changed));
}

}  // namespace headwise
