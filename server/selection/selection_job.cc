#include "server/selection/selection_job.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/selection/back_off.h"
#include "server/selection/job_finisher.h"
#include "server/selection/shard_scorer.h"

namespace headwise {

SelectionJob::SelectionJob(const JobEntry& entry, Place place,
                           const SelectionJobsOptions& options, JobBooks& books,
                           const Clock& clock)
    : entry_(entry),
      place_(std::move(place)),
      options_(options),
      books_(books),
      clock_(clock),
      pulse_(entry.number, options.lease, books, clock),
      inbox_(std::make_shared<AnswerInbox>()) {}

void SelectionJob::Stop() {
  pulse_.Stop();
  inbox_->Wake();
}

absl::Status SelectionJob::Run() {
  absl::Status status = RunUntilDone();
  // If this fails, the leases end by themselves.
  pulse_.End().IgnoreError();
  // What a job that is to stop ran into is nobody's concern.
  return pulse_.is_stopped() ? absl::OkStatus() : status;
}

absl::Status SelectionJob::RunUntilDone() {
  HEADWISE_ASSIGN_OR_RETURN(const bool is_to_run, pulse_.GoesOn());
  if (!is_to_run) return absl::OkStatus();
  HEADWISE_ASSIGN_OR_RETURN(const JobManifest manifest,
                            place_.folder.ReadManifest(entry_.id));
  HEADWISE_RETURN_IF_ERROR(place_.folder.MakeRows());
  HEADWISE_ASSIGN_OR_RETURN(const std::set<std::string> owners,
                            books_.LiveOwners(entry_.number));
  HEADWISE_RETURN_IF_ERROR(
      place_.folder.RemoveLeftovers([&](absl::string_view writer) {
        return writer == place_.owner || owners.count(std::string(writer)) > 0;
      }));
  // In kFinishing the parts are read anyway, and perhaps by another server.
  if (entry_.state == JobState::kRunning)
    HEADWISE_RETURN_IF_ERROR(CheckParts());

  JobFinisher::Job finish;
  finish.number = entry_.number;
  finish.id = entry_.id;
  finish.num_shards = entry_.num_shards;
  finish.writer = place_.owner;
  finish.temp_dir = place_.temp_dir;
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const bool goes_on, ScoreShards(manifest));
    if (!goes_on) return absl::OkStatus();
    JobFinisher finisher(finish, place_.folder, books_, pulse_, *inbox_);
    HEADWISE_ASSIGN_OR_RETURN(const auto outcome, finisher.Run());
    if (outcome != JobFinisher::Outcome::kIncomplete) return absl::OkStatus();
  }
}

absl::Status SelectionJob::CheckParts() {
  std::vector<int64_t> broken;
  HEADWISE_RETURN_IF_ERROR(
      books_.Parts(entry_.number, [&](const PartEntry& part) {
        struct stat info = {};
        const std::string path = place_.folder.PartPath(part.shard);
        if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) ||
            info.st_size != part.file.num_bytes) {
          broken.push_back(part.shard);
        }
        return absl::OkStatus();
      }));
  for (const int64_t shard : broken) {
    HEADWISE_RETURN_IF_ERROR(books_.Drop(entry_.number, shard));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<bool>> SelectionJob::CommittedShards() {
  std::vector<bool> is_committed(static_cast<size_t>(entry_.num_shards));
  HEADWISE_RETURN_IF_ERROR(
      books_.Parts(entry_.number, [&](const PartEntry& part) {
        is_committed[static_cast<size_t>(part.shard)] = true;
        return absl::OkStatus();
      }));
  return is_committed;
}

absl::StatusOr<bool> SelectionJob::ScoreShards(const JobManifest& manifest) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<bool> is_committed,
                            CommittedShards());
  if (std::find(is_committed.begin(), is_committed.end(), false) ==
      is_committed.end()) {
    return true;
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<DocumentScorer> scorer,
                            MakeScorer(manifest));
  if (scorer == nullptr) return false;
  ShardScorer::Job job = {.number = entry_.number, .manifest = manifest};
  job.input = manifest.input;
  job.input.root = place_.input_root;
  job.place = {.folder = place_.folder.rows_path(), .writer = place_.owner};
  job.max_open_shards = options_.max_open_shards;
  job.max_text_bytes = options_.max_text_bytes;
  job.min_back_off = options_.min_back_off;
  job.max_back_off = options_.max_back_off;
  ShardScorer shards(std::move(job),
                     {.books = books_,
                      .pulse = pulse_,
                      .live = live_,
                      .clock = clock_,
                      .inbox = inbox_},
                     *scorer);
  HEADWISE_RETURN_IF_ERROR(shards.Run(is_committed));
  live_.SetPace(0.0, 0);
  return !pulse_.is_stopped();
}

absl::StatusOr<std::unique_ptr<DocumentScorer>> SelectionJob::MakeScorer(
    const JobManifest& manifest) {
  JobManifest head = manifest;
  head.shards.clear();
  BackOff back_off(options_.min_back_off, options_.max_back_off);
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const bool goes_on, pulse_.GoesOn());
    if (!goes_on) return nullptr;
    auto scorer = options_.make_scorer(head);
    if (!absl::IsUnavailable(scorer.status())) {
      live_.SetNote("");
      return scorer;
    }
    live_.SetNote(
        absl::StrCat("the model is not there: ", scorer.status().message()));
    const absl::Time now = clock_.Now();
    back_off.Failed(now);
    inbox_->Wait(std::min(back_off.Left(now), pulse_.UntilNext()));
  }
}

}  // namespace headwise
