#include "server/selection/job_finisher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/selection/duplicate_ids.h"
#include "server/selection/durable_file.h"
#include "server/selection/flag_names.h"
#include "server/selection/shard_output.h"
#include "server/selection/top_rows.h"

namespace headwise {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kVersion = 1;
constexpr int64_t kRowsBetweenLooks = 4096;
// Until a job that another server finishes is looked at again.
constexpr absl::Duration kHeldWait = absl::Seconds(1);
constexpr char kResultName[] = "result.json";

// What ends a pass when the pulse has ended.
absl::Status Stopped() { return absl::CancelledError("the job is to stop"); }

ordered_json ProgressToJson(const DomainProgress& progress) {
  ordered_json json;
  json["documents"] = progress.num_documents;
  json["scored"] = progress.num_scored;
  json["ranked"] = progress.num_ranked;
  json["tokens"] = progress.num_tokens;
  return json;
}

ordered_json DomainsToJson(const DomainTotals& totals) {
  ordered_json domains = ordered_json::array();
  for (const auto& [domain, progress] : totals.named) {
    ordered_json entry = {{"domain", domain}};
    entry.update(ProgressToJson(progress));
    domains.push_back(std::move(entry));
  }
  return domains;
}

ordered_json PartToJson(const PartEntry& part) {
  return {{"file", absl::StrCat("rows/", PartName(part.shard))},
          {"bytes", part.file.num_bytes},
          {"rows", part.file.num_rows},
          {"tokens", part.totals.total.num_tokens},
          {"sha256", part.file.sha256}};
}

std::string ResultSha256(const std::vector<PartEntry>& parts) {
  Sha256 hash;
  for (const PartEntry& part : parts) {
    const std::string line = part.file.sha256 + "\n";
    hash.Update({reinterpret_cast<const uint8_t*>(line.data()), line.size()});
  }
  return Sha256Hex(hash.Finish());
}

}  // namespace

JobFinisher::JobFinisher(Job job, const JobFolder& folder, JobBooks& books,
                         JobPulse& pulse, AnswerInbox& inbox)
    : job_(std::move(job)),
      folder_(folder),
      books_(books),
      pulse_(pulse),
      inbox_(inbox) {}

absl::StatusOr<JobFinisher::Outcome> JobFinisher::Run() {
  HEADWISE_ASSIGN_OR_RETURN(const bool is_ours, Begin());
  if (!is_ours) return Outcome::kStopped;
  absl::Status status = FlagDuplicates();
  if (status.ok()) status = MendSketches();
  if (broken_shard_.has_value()) {
    // In this order: a job that runs may lack a part, one that finishes not.
    HEADWISE_RETURN_IF_ERROR(
        books_.Move(job_.number, {JobState::kFinishing}, JobState::kRunning, "")
            .status());
    HEADWISE_RETURN_IF_ERROR(books_.Drop(job_.number, *broken_shard_));
    return Outcome::kIncomplete;
  }
  if (pulse_.is_stopped()) return Outcome::kStopped;
  HEADWISE_RETURN_IF_ERROR(status);
  // Of servers that were killed. One that lives has no shard any more.
  HEADWISE_RETURN_IF_ERROR(folder_.RemoveLeftovers(
      [this](absl::string_view writer) { return writer == job_.writer; }));
  HEADWISE_ASSIGN_OR_RETURN(const std::string result_sha256, WriteResult());
  HEADWISE_ASSIGN_OR_RETURN(const bool is_done,
                            books_.Finish(job_.number, result_sha256));
  return is_done ? Outcome::kDone : Outcome::kStopped;
}

absl::StatusOr<bool> JobFinisher::Begin() {
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const bool goes_on, pulse_.GoesOn());
    if (!goes_on) return false;
    HEADWISE_ASSIGN_OR_RETURN(const LeaseAnswer answer,
                              books_.Lease(job_.number, job_.num_shards));
    if (answer == LeaseAnswer::kTaken) break;
    inbox_.Wait(std::min(kHeldWait, pulse_.UntilNext()));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const bool is_finishing,
      books_.Move(job_.number, {JobState::kRunning, JobState::kFinishing},
                  JobState::kFinishing, ""));
  if (!is_finishing) return false;
  parts_.clear();
  HEADWISE_RETURN_IF_ERROR(books_.Parts(job_.number, [this](PartEntry part) {
    parts_.push_back(std::move(part));
    return absl::OkStatus();
  }));
  return true;
}

absl::Status JobFinisher::Read(
    const PartEntry& part, const std::function<absl::Status(ScoreRow&)>& take) {
  absl::Status taken;  // what `take` said
  int64_t num_rows = 0;
  absl::Status status = ReadPart(folder_.PartPath(part.shard), part.file.sha256,
                                 [&](ScoreRow& row) -> absl::Status {
                                   if (num_rows++ % kRowsBetweenLooks == 0) {
                                     const auto goes_on = pulse_.GoesOn();
                                     taken = goes_on.status();
                                     if (goes_on.ok() && !*goes_on)
                                       taken = Stopped();
                                   }
                                   if (taken.ok()) taken = take(row);
                                   return taken;
                                 });
  if (taken.ok() && (absl::IsDataLoss(status) || absl::IsNotFound(status))) {
    broken_shard_ = part.shard;
  }
  return status;
}

absl::Status JobFinisher::FlagDuplicates() {
  HEADWISE_ASSIGN_OR_RETURN(
      const auto ids,
      DuplicateIds::Create({.max_memory_bytes = job_.max_sort_bytes,
                            .temp_dir = job_.temp_dir}));
  int64_t position = 0;
  for (const PartEntry& part : parts_) {
    HEADWISE_RETURN_IF_ERROR(Read(
        part, [&](ScoreRow& row) { return ids->Add(row.doc_id, position++); }));
  }
  size_t part = 0;        // that `rows` are of
  int64_t first_row = 0;  // of that part, in all
  std::vector<int64_t> rows;
  const auto flag_part = [&]() -> absl::Status {
    if (rows.empty()) return absl::OkStatus();
    HEADWISE_RETURN_IF_ERROR(FlagPart(parts_[part], rows));
    rows.clear();
    return absl::OkStatus();
  };
  HEADWISE_RETURN_IF_ERROR(ids->Find([&](int64_t found) -> absl::Status {
                                while (found >=
                                       first_row + parts_[part].file.num_rows) {
                                  HEADWISE_RETURN_IF_ERROR(flag_part());
                                  first_row += parts_[part].file.num_rows;
                                  ++part;
                                }
                                rows.push_back(found - first_row);
                                return absl::OkStatus();
                              })
                               .status());
  return parts_.empty() ? absl::OkStatus() : flag_part();
}

absl::Status JobFinisher::FlagPart(PartEntry& part,
                                   const std::vector<int64_t>& rows) {
  HEADWISE_ASSIGN_OR_RETURN(
      const auto output,
      ShardOutput::Create(folder_.rows_path(), part.shard, job_.writer));
  PartEntry flagged;
  flagged.shard = part.shard;
  flagged.input_bytes = part.input_bytes;
  bool has_changed = false;
  int64_t index = 0;
  auto next = rows.begin();
  HEADWISE_RETURN_IF_ERROR(Read(part, [&](ScoreRow& row) {
    const bool is_duplicate = next != rows.end() && *next == index;
    if (is_duplicate) ++next;
    ++index;
    const uint32_t flags = (row.flags & ~uint32_t{kDuplicateId}) |
                           (is_duplicate ? uint32_t{kDuplicateId} : 0u);
    has_changed |= flags != row.flags;
    row.flags = flags;
    flagged.totals.Add(row, /*cost_seconds=*/0.0);
    return output->Add(row);
  }));
  // A crash came after it was written.
  if (!has_changed) return absl::OkStatus();
  HEADWISE_ASSIGN_OR_RETURN(flagged.file, output->Commit());
  HEADWISE_ASSIGN_OR_RETURN(const bool is_ours,
                            books_.Replace(job_.number, flagged));
  if (!is_ours) {
    pulse_.Stop();
    return Stopped();
  }
  part = std::move(flagged);
  return absl::OkStatus();
}

absl::Status JobFinisher::MendSketches() {
  HEADWISE_ASSIGN_OR_RETURN(const bool is_stale,
                            books_.HasStaleSketches(job_.number));
  if (!is_stale) return absl::OkStatus();
  DomainSketches sketches;
  HEADWISE_ASSIGN_OR_RETURN(const auto told, books_.Domains(job_.number));
  for (const PartEntry& part : parts_) {
    HEADWISE_RETURN_IF_ERROR(Read(part, [&](ScoreRow& row) {
      if (!HasRank(row)) return absl::OkStatus();
      const bool is_told = told.count(row.domain) > 0;
      sketches[is_told ? row.domain : ""].Add(row.score());
      return absl::OkStatus();
    }));
  }
  return books_.SetSketches(job_.number, sketches);
}

absl::StatusOr<std::string> JobFinisher::WriteResult() {
  HEADWISE_ASSIGN_OR_RETURN(const DomainTotals totals,
                            books_.TotalsByDomain(job_.number));
  HEADWISE_ASSIGN_OR_RETURN(const auto flags, books_.Flags(job_.number));
  DomainProgress total = totals.others;
  for (const auto& [domain, progress] : totals.named) total += progress;

  ordered_json head = {{"version", kVersion}, {"job_id", job_.id}};
  head.update(ProgressToJson(total));
  head["flags"] = ordered_json::object();
  for (const auto& [flag, documents] : flags) {
    const absl::string_view name = FlagName(static_cast<DocumentFlag>(flag));
    head["flags"][std::string(name)] = documents;
  }
  head["domains"] = DomainsToJson(totals);
  if (totals.num_others > 0) {
    head["other_domains"] = {{"domains", totals.num_others}};
    head["other_domains"].update(ProgressToJson(totals.others));
  }
  std::string text = head.dump();
  text.pop_back();

  HEADWISE_ASSIGN_OR_RETURN(
      const auto file,
      DurableFile::Create(folder_.path(), kResultName, job_.writer));
  HEADWISE_RETURN_IF_ERROR(file->Append(text + ",\"parts\":["));
  for (const PartEntry& part : parts_) {
    HEADWISE_RETURN_IF_ERROR(file->Append(
        absl::StrCat(part.shard == 0 ? "\n" : ",\n", PartToJson(part).dump())));
  }
  const std::string result_sha256 = ResultSha256(parts_);
  HEADWISE_RETURN_IF_ERROR(file->Append(
      absl::StrCat("\n],\"result_sha256\":\"", result_sha256, "\"}\n")));
  HEADWISE_RETURN_IF_ERROR(file->Commit());
  return result_sha256;
}

}  // namespace headwise
