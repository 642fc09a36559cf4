// What the books know of committed parts, and what those add up to.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/selection/job_books.h"

namespace headwise {
namespace {

// Columns documents, scored, ranked, tokens, cost from `first` on.
DomainProgress ProgressOfRow(const SqlRow& row, int first) {
  DomainProgress progress;
  progress.num_documents = row.Int(first);
  progress.num_scored = row.Int(first + 1);
  progress.num_ranked = row.Int(first + 2);
  progress.num_tokens = row.Int(first + 3);
  progress.cost_seconds = row.Real(first + 4);
  return progress;
}

DomainProgress Negative(const DomainProgress& progress) {
  return {-progress.num_documents, -progress.num_scored, -progress.num_ranked,
          -progress.num_tokens, -progress.cost_seconds};
}

constexpr char kAddFlag[] =
    "INSERT INTO job_flags (job, flag, documents) VALUES (?, ?, ?)"
    " ON CONFLICT (job, flag) DO UPDATE"
    " SET documents = documents + excluded.documents";

}  // namespace

absl::StatusOr<bool> JobBooks::HoldsLocked(int64_t job, int64_t shard,
                                           JobState state) {
  return HasRowLocked(
      "SELECT 1 FROM leases JOIN jobs ON jobs.number = leases.job"
      " WHERE job = ? AND shard = ? AND owner = ? AND boot = ? AND state = ?",
      {job, shard, options_.owner, boot_, static_cast<int64_t>(state)});
}

absl::StatusOr<bool> JobBooks::Holds(int64_t job, int64_t shard) {
  absl::MutexLock lock(&mutex_);
  return HoldsLocked(job, shard, JobState::kRunning);
}

absl::Status JobBooks::EndLeaseLocked(int64_t job, int64_t shard) {
  return database_->Run(
      "DELETE FROM leases WHERE job = ? AND shard = ? AND owner = ?",
      {job, shard, options_.owner});
}

// A name that is not told becomes "".
absl::Status JobBooks::ToldNameLocked(int64_t job, std::string& domain) {
  HEADWISE_ASSIGN_OR_RETURN(
      const bool is_told,
      HasRowLocked("SELECT 1 FROM job_domains WHERE job = ? AND domain = ?"
                   " UNION ALL SELECT 1 WHERE (SELECT COUNT(*) FROM job_domains"
                   " WHERE job = ? AND domain <> '') < ? LIMIT 1",
                   {job, domain, job, static_cast<int64_t>(kMaxToldDomains)}));
  if (!is_told) domain.clear();
  return absl::OkStatus();
}

absl::Status JobBooks::AddDomainLocked(int64_t job, const std::string& domain,
                                       const DomainProgress& progress) {
  std::string told = domain;
  HEADWISE_RETURN_IF_ERROR(ToldNameLocked(job, told));
  return database_->Run(
      "INSERT INTO job_domains (job, domain, documents, scored, ranked,"
      " tokens, cost) VALUES (?, ?, ?, ?, ?, ?, ?)"
      " ON CONFLICT (job, domain) DO UPDATE SET"
      " documents = documents + excluded.documents,"
      " scored = scored + excluded.scored, ranked = ranked + excluded.ranked,"
      " tokens = tokens + excluded.tokens, cost = cost + excluded.cost",
      {job, told, progress.num_documents, progress.num_scored,
       progress.num_ranked, progress.num_tokens, progress.cost_seconds});
}

absl::Status JobBooks::MergeSketchLocked(int64_t job, const std::string& domain,
                                         QuantileSketch sketch) {
  std::string told = domain;
  HEADWISE_RETURN_IF_ERROR(ToldNameLocked(job, told));
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT sketch FROM job_sketches WHERE job = ? AND domain = ?",
      {job, told}, [&sketch](const SqlRow& row) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const QuantileSketch before,
                                  QuantileSketch::FromText(row.Text(0)));
        sketch.Merge(before);
        return absl::OkStatus();
      }));
  return database_->Run(
      "INSERT OR REPLACE INTO job_sketches (job, domain, sketch)"
      " VALUES (?, ?, ?)",
      {job, told, sketch.ToText()});
}

absl::Status JobBooks::InsertPartLocked(int64_t job, const PartEntry& part) {
  const DomainProgress& total = part.totals.total;
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "INSERT INTO parts (job, shard, file_bytes, sha256, input_bytes,"
      " documents, scored, ranked, tokens, cost)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {job, part.shard, part.file.num_bytes, part.file.sha256, part.input_bytes,
       total.num_documents, total.num_scored, total.num_ranked,
       total.num_tokens, total.cost_seconds}));
  for (const auto& [domain, progress] : part.totals.domains) {
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "INSERT INTO part_domains (job, shard, domain, documents, scored,"
        " ranked, tokens, cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        {job, part.shard, domain, progress.num_documents, progress.num_scored,
         progress.num_ranked, progress.num_tokens, progress.cost_seconds}));
    HEADWISE_RETURN_IF_ERROR(AddDomainLocked(job, domain, progress));
  }
  for (const auto& [flag, documents] : part.totals.flags) {
    HEADWISE_RETURN_IF_ERROR(
        database_->Run("INSERT INTO part_flags (job, shard, flag, documents)"
                       " VALUES (?, ?, ?, ?)",
                       {job, part.shard, int64_t{flag}, documents}));
    HEADWISE_RETURN_IF_ERROR(
        database_->Run(kAddFlag, {job, int64_t{flag}, documents}));
  }
  return database_->Run(
      "UPDATE jobs SET num_shards_done = num_shards_done + 1,"
      " input_bytes_done = input_bytes_done + ? WHERE number = ?",
      {part.input_bytes, job});
}

absl::Status JobBooks::DeletePartLocked(int64_t job, int64_t shard) {
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "UPDATE jobs SET num_shards_done = num_shards_done - 1,"
      " input_bytes_done = input_bytes_done - parts.input_bytes,"
      " stale_sketches = 1"
      " FROM parts WHERE number = ? AND job = number AND shard = ?",
      {job, shard}));
  // Taken together first: a table is not changed while it is read.
  std::map<std::string, DomainProgress> domains;
  HEADWISE_RETURN_IF_ERROR(
      database_->Run("SELECT domain, documents, scored, ranked, tokens, cost"
                     " FROM part_domains WHERE job = ? AND shard = ?",
                     {job, shard}, [&domains](const SqlRow& row) {
                       domains[row.Text(0)] = ProgressOfRow(row, 1);
                       return absl::OkStatus();
                     }));
  for (const auto& [domain, progress] : domains) {
    HEADWISE_RETURN_IF_ERROR(AddDomainLocked(job, domain, Negative(progress)));
  }
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "UPDATE job_flags SET documents = job_flags.documents - gone.documents"
      " FROM part_flags AS gone WHERE job_flags.job = ? AND gone.shard = ?"
      " AND gone.job = job_flags.job AND gone.flag = job_flags.flag",
      {job, shard}));
  for (const char* table : {"parts", "part_domains", "part_flags"}) {
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        absl::StrCat("DELETE FROM ", table, " WHERE job = ? AND shard = ?"),
        {job, shard}));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> JobBooks::Commit(int64_t job, const PartEntry& part,
                                      const DomainSketches& sketches) {
  bool is_ours = false;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_ASSIGN_OR_RETURN(is_ours,
                              HoldsLocked(job, part.shard, JobState::kRunning));
    if (!is_ours) return absl::OkStatus();
    HEADWISE_RETURN_IF_ERROR(InsertPartLocked(job, part));
    for (const auto& [domain, sketch] : sketches) {
      HEADWISE_RETURN_IF_ERROR(MergeSketchLocked(job, domain, sketch));
    }
    return EndLeaseLocked(job, part.shard);
  }));
  return is_ours;
}

absl::StatusOr<bool> JobBooks::Replace(int64_t job, const PartEntry& part) {
  bool is_ours = false;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_ASSIGN_OR_RETURN(
        is_ours,
        HasRowLocked("SELECT 1 FROM leases JOIN jobs ON job = number AND"
                     " shard = num_shards WHERE job = ? AND owner = ?"
                     " AND boot = ? AND state = ?",
                     {job, options_.owner, boot_,
                      static_cast<int64_t>(JobState::kFinishing)}));
    if (!is_ours) return absl::OkStatus();
    // What the rows cost is known of the part that was scored alone.
    PartEntry replaced = part;
    HEADWISE_RETURN_IF_ERROR(database_->Run(
        "SELECT domain, cost FROM part_domains WHERE job = ? AND shard = ?",
        {job, part.shard}, [&replaced](const SqlRow& row) {
          const double cost = row.Real(1);
          replaced.totals.domains[row.Text(0)].cost_seconds = cost;
          replaced.totals.total.cost_seconds += cost;
          return absl::OkStatus();
        }));
    HEADWISE_RETURN_IF_ERROR(DeletePartLocked(job, part.shard));
    return InsertPartLocked(job, replaced);
  }));
  return is_ours;
}

absl::Status JobBooks::Drop(int64_t job, int64_t shard) {
  absl::MutexLock lock(&mutex_);
  return database_->Transact([&] {
    mutex_.AssertHeld();
    return DeletePartLocked(job, shard);
  });
}

absl::Status JobBooks::Parts(
    int64_t job, const std::function<absl::Status(PartEntry)>& take) {
  // So many at a time, so that `take` is called without the lock.
  constexpr int64_t kAtOnce = 4096;
  int64_t next_shard = 0;
  while (true) {
    std::vector<PartEntry> parts;
    {
      absl::MutexLock lock(&mutex_);
      HEADWISE_RETURN_IF_ERROR(database_->Run(
          "SELECT shard, file_bytes, sha256, input_bytes, documents, scored,"
          " ranked, tokens, cost FROM parts WHERE job = ? AND shard >= ?"
          " ORDER BY shard LIMIT ?",
          {job, next_shard, kAtOnce}, [&parts](const SqlRow& row) {
            PartEntry& part = parts.emplace_back();
            part.shard = row.Int(0);
            part.file.num_bytes = row.Int(1);
            part.file.sha256 = row.Text(2);
            part.input_bytes = row.Int(3);
            part.totals.total = ProgressOfRow(row, 4);
            part.file.num_rows = part.totals.total.num_documents;
            return absl::OkStatus();
          }));
    }
    if (parts.empty()) return absl::OkStatus();
    next_shard = parts.back().shard + 1;
    for (PartEntry& part : parts) {
      HEADWISE_RETURN_IF_ERROR(take(std::move(part)));
    }
  }
}

absl::StatusOr<std::map<std::string, DomainProgress>> JobBooks::Domains(
    int64_t job) {
  std::map<std::string, DomainProgress> domains;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT domain, documents, scored, ranked, tokens, cost FROM job_domains"
      " WHERE job = ? AND documents > 0",
      {job}, [&domains](const SqlRow& row) {
        domains[row.Text(0)] = ProgressOfRow(row, 1);
        return absl::OkStatus();
      }));
  return domains;
}

absl::StatusOr<std::map<uint32_t, int64_t>> JobBooks::Flags(int64_t job) {
  std::map<uint32_t, int64_t> flags;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT flag, documents FROM job_flags WHERE job = ? AND documents > 0",
      {job}, [&flags](const SqlRow& row) {
        flags[static_cast<uint32_t>(row.Int(0))] = row.Int(1);
        return absl::OkStatus();
      }));
  return flags;
}

absl::StatusOr<DomainProgress> JobBooks::Total(int64_t job) {
  DomainProgress total;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT SUM(documents), SUM(scored), SUM(ranked), SUM(tokens), SUM(cost)"
      " FROM job_domains WHERE job = ?",
      {job}, [&total](const SqlRow& row) {
        total = ProgressOfRow(row, 0);
        return absl::OkStatus();
      }));
  return total;
}

absl::StatusOr<DomainTotals> JobBooks::TotalsByDomain(int64_t job) {
  DomainTotals totals;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT domain, SUM(documents), SUM(scored), SUM(ranked), SUM(tokens),"
      " SUM(cost) FROM part_domains WHERE job = ? GROUP BY domain"
      " ORDER BY domain",
      {job}, [&totals](const SqlRow& row) {
        if (totals.named.size() < kMaxToldDomains) {
          totals.named[row.Text(0)] = ProgressOfRow(row, 1);
        } else {
          totals.others += ProgressOfRow(row, 1);
          ++totals.num_others;
        }
        return absl::OkStatus();
      }));
  return totals;
}

absl::StatusOr<DomainSketches> JobBooks::Sketches(int64_t job) {
  DomainSketches sketches;
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(database_->Run(
      "SELECT domain, sketch FROM job_sketches WHERE job = ?", {job},
      [&sketches](const SqlRow& row) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(sketches[row.Text(0)],
                                  QuantileSketch::FromText(row.Text(1)));
        return absl::OkStatus();
      }));
  return sketches;
}

absl::StatusOr<bool> JobBooks::HasStaleSketches(int64_t job) {
  absl::MutexLock lock(&mutex_);
  return HasRowLocked(
      "SELECT 1 FROM jobs WHERE number = ? AND stale_sketches <> 0", {job});
}

absl::Status JobBooks::SetSketches(int64_t job,
                                   const DomainSketches& sketches) {
  absl::MutexLock lock(&mutex_);
  return database_->Transact([&]() -> absl::Status {
    mutex_.AssertHeld();
    HEADWISE_RETURN_IF_ERROR(
        database_->Run("DELETE FROM job_sketches WHERE job = ?", {job}));
    for (const auto& [domain, sketch] : sketches) {
      HEADWISE_RETURN_IF_ERROR(MergeSketchLocked(job, domain, sketch));
    }
    return database_->Run("UPDATE jobs SET stale_sketches = 0 WHERE number = ?",
                          {job});
  });
}

}  // namespace headwise
