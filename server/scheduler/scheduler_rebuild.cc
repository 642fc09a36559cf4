// The part of the scheduler that outlives a group of workers.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/scheduler/admission.h"
#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

// Of what was admitted before, and is not now.
absl::Status NoLongerServed(const absl::Status& status) {
  return {status.code(),
          absl::StrCat("after a loss of workers: ", status.message())};
}

}  // namespace

void Scheduler::Suspend(const absl::Status& reason, GroupEnd end,
                        absl::Time now) {
  if (!suspended_.has_value()) suspended_since_ = now;
  suspended_ = absl::IsUnavailable(reason)
                   ? reason
                   : absl::UnavailableError(absl::StrCat(
                         "the group of workers is lost: ", reason.message()));
  while (!parks_.empty()) EndPark(parks_.begin()->first, *suspended_);
  for (RunningMap ran = std::exchange(running_, {});
       auto& [id, sequence] : ran) {
    SetBack(std::move(sequence), end, now);
  }
  held_.Lose([this](uint64_t id) { return waiting_.contains(id); });
  for (const SentStep& step : steps_) {
    if (!step.outcome.has_value()) ++lost_steps_unanswered_;
  }
  steps_.clear();
  frees_ = FreeQueue();
  plans_ = PlanTable();
  queue_stands_ = false;
  times_.OnQueue(/*stands=*/false, now);
  kv_ = KvLedger(needs_.capacity().rank_bytes);
  ++group_;
  last_step_id_ = 0;
}

void Scheduler::SetBack(Sequence sequence, GroupEnd end, absl::Time now) {
  const uint64_t id = sequence.id();
  const bool counts = end == GroupEnd::kLost && sequence.slices_in_flight() > 0;
  WaitingRequest waiting = sequence.Release();
  const int num_losses = waiting.progress.num_losses += counts ? 1 : 0;
  if (held_.Has(id)) {
    HeldPrefix& prefix = held_.At(id);
    prefix.num_losses = num_losses;
    if (num_losses >= kMaxLosses) prefix.tokens.clear();
    return;
  }
  const auto back = waiting_.emplace(id, std::move(waiting)).first;
  if (num_losses < kMaxLosses) return;
  const absl::Status status = absl::InternalError(absl::StrCat(
      "the group of workers was lost ", num_losses,
      " times in a row while the request ran, and it came no further; it is "
      "not tried again. The last time: ",
      suspended_->message()));
  const WaitingRequest ended = std::move(back->second);
  waiting_.erase(back);
  EmitEnd(id, ended.request.deadline, status, UsageOf(ended, now));
}

ResumeReport Scheduler::Resume(KvCapacity capacity, absl::Time now) {
  // Caches of a new group are empty, whether or not we heard of the old one's
  // end.
  if (!suspended_.has_value()) {
    Suspend(absl::UnavailableError("the group of workers was replaced"),
            GroupEnd::kPlanned, now);
  }
  needs_ = KvNeeds(options_.kv, std::move(capacity));
  kv_ = KvLedger(needs_.capacity().rank_bytes);
  had_group_ = true;
  look_for_idle_ = true;
  suspended_.reset();
  ResumeReport report = {.paused = now - suspended_since_};
  std::vector<uint64_t> ids;
  for (const auto& [id, waiting] : waiting_) ids.push_back(id);
  for (const uint64_t id : ids) {
    WaitingRequest& waiting = waiting_.at(id);
    absl::StatusOr<std::vector<int64_t>> kv_bytes =
        AdmitToGroup(waiting.request);
    if (!kv_bytes.ok()) {
      ++report.num_ended;
      End(id, NoLongerServed(kv_bytes.status()), now);
      continue;
    }
    waiting.kv_bytes = *std::move(kv_bytes);
    if (waiting.times.admitted <= now) ++report.num_rebuilt;
  }
  return report;
}

absl::StatusOr<std::vector<int64_t>> Scheduler::AdmitToGroup(
    const EngineRequest& request) const {
  AdmissionTerms terms = {.needs = needs_,
                          .max_context_len = options_.max_context_len};
  if (request.fork_from == 0) return Admit(request, terms);
  terms.prefix = &held_.At(request.fork_from);
  terms.prefix_bytes.resize(kv_.capacity().size(), 0);
  for (const uint64_t held : held_.ChainOf(request.fork_from)) {
    const HeldPrefix& prefix = held_.At(held);
    if (prefix.place == PrefixPlace::kLost && prefix.tokens.empty()) {
      return absl::DataLossError(
          absl::StrCat("fork_from ", request.fork_from,
                       ": the prefix is gone with the workers that held it"));
    }
    terms.prefix_bytes = SumByRank(BytesOf(held), terms.prefix_bytes);
  }
  return Admit(request, terms);
}

std::vector<int64_t> Scheduler::BytesOf(uint64_t prefix_id) const {
  std::vector<int64_t> bytes = kv_.Reserved(prefix_id);
  if (!bytes.empty()) return bytes;
  const HeldPrefix& prefix = held_.At(prefix_id);
  const KvExtent extent = {.length = prefix.length,
                           .prompt_len = prefix.length};
  const std::optional<uint64_t> origin_id = held_.OriginOf(prefix_id);
  if (!origin_id.has_value()) {
    return needs_.Reserved(prefix.plan.get(), extent);
  }
  const HeldPrefix& origin = held_.At(*origin_id);
  return needs_.ReservedByFork(origin.plan.get(), prefix.plan.get(),
                               origin.length, extent);
}

bool Scheduler::MayBegin(const WaitingRequest& waiting) const {
  const uint64_t origin = waiting.request.fork_from;
  return origin == 0 || held_.At(origin).place == PrefixPlace::kMemory;
}

std::optional<uint64_t> Scheduler::NextRestore(
    const WaitingRequest& waiting) const {
  std::optional<uint64_t> next;
  std::optional<uint64_t> id = waiting.request.fork_from;
  if (*id == 0) return std::nullopt;
  for (; id.has_value(); id = held_.OriginOf(*id)) {
    if (held_.At(*id).place == PrefixPlace::kLost) next = id;
  }
  if (next.has_value() && (running_.contains(*next) || frees_.Holds(*next))) {
    return std::nullopt;  // it runs, or has yet to be forgotten
  }
  return next;
}

bool Scheduler::Restore(uint64_t prefix_id, bool in_background,
                        absl::Time now) {
  const HeldPrefix& prefix = held_.At(prefix_id);
  WaitingRequest restore;
  restore.request.request_id = absl::StrCat("prefix-", prefix_id);
  restore.request.tenant = prefix.tenant;
  restore.request.kind = WorkKind::kPrefix;
  restore.request.is_background = in_background;
  restore.request.prompt = prefix.tokens;
  restore.request.plan = prefix.plan;
  restore.request.fork_from = held_.OriginOf(prefix_id).value_or(0);
  restore.prefix_len = prefix.length - restore.prompt_len();
  restore.kv_bytes = BytesOf(prefix_id);
  restore.progress = {.prompt_rows = restore.prompt_len(),
                      .num_losses = prefix.num_losses};
  return AdmitOne(prefix_id, restore, now);
}

// Nobody tries again: what waits for the prefix ends as it did, and the prefix
// is forgotten.
void Scheduler::EndRestore(uint64_t prefix_id, const absl::Status& status,
                           absl::Time now) {
  if (const auto running = running_.find(prefix_id);
      running != running_.end()) {
    const Sequence ended = std::move(running->second);
    running_.erase(running);
    ForgetRunning(ended);
  }
  held_.At(prefix_id).tokens.clear();
  std::vector<uint64_t> forks;
  for (const auto& [id, waiting] : waiting_) {
    const uint64_t origin = waiting.request.fork_from;
    if (origin == 0) continue;
    const std::vector<uint64_t> chain = held_.ChainOf(origin);
    if (std::find(chain.begin(), chain.end(), prefix_id) != chain.end()) {
      forks.push_back(id);
    }
  }
  if (const auto gone = held_.Release(prefix_id)) FreePrefix(*gone);
  for (const uint64_t id : forks) End(id, status, now);
}

uint64_t Scheduler::HoldTokens(std::vector<int32_t> tokens,
                               std::shared_ptr<const HeadPlan> plan,
                               std::string tenant) {
  HEADWISE_CHECK(!tokens.empty());
  const uint64_t id = ++last_request_id_;
  const auto length = static_cast<int64_t>(tokens.size());
  held_.Add(id, {.length = length,
                 .tenant = std::move(tenant),
                 .plan = std::move(plan),
                 .tokens = std::move(tokens),
                 .place = PrefixPlace::kLost,
                 .may_evict = true});
  return id;
}

absl::StatusOr<std::vector<int32_t>> Scheduler::TokensOf(uint64_t id) const {
  if (held_.Find(id) == nullptr) {
    return absl::NotFoundError(absl::StrCat("no prefix ", id, " is held"));
  }
  std::vector<int32_t> tokens = held_.TokensOf(id);
  if (tokens.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the tokens of prefix ", id, " are not known"));
  }
  return tokens;
}

bool Scheduler::AdmitSuspect(absl::Time now) {
  const auto is_suspect = [](const RequestProgress& progress) {
    return progress.num_losses == kMaxLosses - 1;
  };
  for (const auto& [id, sequence] : running_) {
    if (is_suspect(sequence.progress())) return true;
  }
  if (!running_.empty()) return false;
  for (auto& [id, waiting] : waiting_) {
    if (const auto lost = NextRestore(waiting)) {
      const bool is_last = held_.At(*lost).num_losses == kMaxLosses - 1;
      if (is_last && Restore(*lost, /*in_background=*/false, now)) return true;
    }
    if (!is_suspect(waiting.progress) || !MayBegin(waiting)) continue;
    if (!AdmitOne(id, waiting, now)) continue;
    waiting_.erase(uint64_t{id});
    return true;
  }
  return false;
}

}  // namespace headwise
