// The part of the scheduler that moves prefixes to files and back.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/scheduler/scheduler.h"

namespace headwise {

absl::StatusOr<const HeldPrefix*> Scheduler::CheckPark(
    uint64_t id, PrefixPlace place) const {
  const HeldPrefix* prefix = held_.Find(id);
  if (prefix == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("prefix ", id, ": no such prefix is held"));
  }
  if (prefix->place != place) {
    const char* where = prefix->place == PrefixPlace::kMoving ? "on its way"
                        : prefix->place == PrefixPlace::kFile ? "parked"
                        : prefix->place == PrefixPlace::kLost ? "run again"
                                                              : "not parked";
    return absl::FailedPreconditionError(
        absl::StrCat("prefix ", id, " is ", where));
  }
  if (held_.num_forks(id) > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("prefix ", id, " is in use by ", held_.num_forks(id),
                     " that begin with it"));
  }
  if (parks_.size() >= static_cast<size_t>(kMaxParks)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        parks_.size(), " prefixes are on their way, at most ", kMaxParks));
  }
  return prefix;
}

// A job counts as a fork: its prefix stays until it has ended.
uint64_t Scheduler::StartPark(ParkJob job) {
  const uint64_t id = ++last_request_id_;
  held_.SetPlace(job.prefix_id, PrefixPlace::kMoving, {});
  held_.AddFork(id, job.prefix_id);
  parks_.emplace(id, std::move(job));
  return id;
}

bool Scheduler::IsLost(uint64_t prefix_id) const {
  const HeldPrefix* prefix = held_.Find(prefix_id);
  return prefix != nullptr && prefix->place == PrefixPlace::kLost &&
         held_.num_forks(prefix_id) == 0;
}

// Nothing is in memory, and nothing comes there before something begins with
// the prefix.
uint64_t Scheduler::EndAtOnce() {
  const uint64_t id = ++last_request_id_;
  EmitEnd(id, absl::InfiniteFuture(), absl::OkStatus(), RequestUsage());
  return id;
}

absl::StatusOr<uint64_t> Scheduler::Park(uint64_t id) {
  if (IsLost(id)) return EndAtOnce();
  HEADWISE_RETURN_IF_ERROR(CheckPark(id, PrefixPlace::kMemory).status());
  return StartPark({.prefix_id = id});
}

absl::StatusOr<uint64_t> Scheduler::Unpark(uint64_t id) {
  if (IsLost(id)) return EndAtOnce();
  HEADWISE_ASSIGN_OR_RETURN(const HeldPrefix* prefix,
                            CheckPark(id, PrefixPlace::kFile));
  std::vector<int64_t> bytes =
      needs_.Reserved(prefix->plan.get(),
                      {.length = prefix->length, .prompt_len = prefix->length});
  for (size_t rank = 0; rank < bytes.size(); ++rank) {
    const int64_t free = kv_.capacity()[rank] - kv_.used()[rank];
    if (bytes[rank] <= free) continue;
    return absl::ResourceExhaustedError(
        absl::StrCat("prefix ", id, " needs ", bytes[rank],
                     " bytes of KV on rank ", rank, ", ", free, " are free"));
  }
  const std::optional<uint64_t> plan_id = plans_.Acquire(prefix->plan);
  if (!plan_id.has_value()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxPlans, " plans are in use"));
  }
  kv_.Reserve(id, std::move(bytes));
  return StartPark({.prefix_id = id,
                    .is_unpark = true,
                    .plan_id = *plan_id,
                    .action = ParkAction::kRead,
                    .file_bytes = prefix->file_bytes});
}

TicketedStep Scheduler::NextParkStep(absl::Time now) {
  const auto& [id, job] = *parks_.begin();
  SentStep sent;
  Step step;
  sent.park_id = id;
  if (job.action == ParkAction::kRead) plans_.AddTo(step, job.plan_id);
  step.parks = {{.sequence_id = job.prefix_id,
                 .action = job.action,
                 .plan_id = job.plan_id}};
  return Send(std::move(step), std::move(sent), now);
}

void Scheduler::ApplyPark(uint64_t id,
                          const absl::StatusOr<StepResult>& outcome) {
  ParkJob& job = parks_.at(id);
  absl::Status status = outcome.status();
  if (status.ok() && outcome->parks.size() == 1) {
    status = outcome->parks[0].status;
    if (job.action == ParkAction::kWrite) {
      job.file_bytes = outcome->parks[0].rank_bytes;
    }
  } else if (status.ok()) {
    status = absl::InternalError("the workers did not answer a park");
  }
  if (job.status.ok()) job.status = status;
  const bool ok = status.ok();
  switch (job.action) {
    case ParkAction::kWrite:
      job.action = ok ? ParkAction::kUnload : ParkAction::kErase;
      return;
    case ParkAction::kRead:
      job.action = ok ? ParkAction::kErase : ParkAction::kUnload;
      return;
    case ParkAction::kUnload:
      if (job.is_unpark) {
        kv_.Release(job.prefix_id);
      } else {
        held_.TakeTokensOfOrigin(job.prefix_id);
        ReleaseKv(job.prefix_id);
      }
      held_.SetPlace(job.prefix_id, PrefixPlace::kFile, job.file_bytes);
      return EndPark(id, job.status);
    case ParkAction::kErase:
      held_.SetPlace(job.prefix_id, PrefixPlace::kMemory, {});
      return EndPark(id, job.status);
  }
}

void Scheduler::EndPark(uint64_t id, const absl::Status& status) {
  const auto ended = parks_.find(id);
  plans_.Release(ended->second.plan_id);
  EmitEnd(id, absl::InfiniteFuture(), status, RequestUsage());
  parks_.erase(ended);
  if (const auto gone = held_.EndFork(id)) FreePrefix(*gone);
}

}  // namespace headwise
