// The part of the scheduler that lets requests in.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"
#include "server/scheduler/scheduler.h"

namespace headwise {

absl::StatusOr<uint64_t> Scheduler::Submit(EngineRequest request,
                                           absl::Time now) {
  if (suspended_.has_value() &&
      (!had_group_ || now - suspended_since_ >= options_.rebuild_wait)) {
    return *suspended_;
  }
  const HeldPrefix* prefix = nullptr;
  if (request.fork_from != 0) {
    prefix = held_.Find(request.fork_from);
    if (prefix == nullptr) {
      return absl::NotFoundError(absl::StrCat("fork_from ", request.fork_from,
                                              ": no such prefix is held"));
    }
    if (prefix->place == PrefixPlace::kFile ||
        prefix->place == PrefixPlace::kMoving) {
      return absl::FailedPreconditionError(
          absl::StrCat("fork_from ", request.fork_from, ": is parked"));
    }
  }
  HEADWISE_ASSIGN_OR_RETURN(std::vector<int64_t> kv_bytes,
                            AdmitToGroup(request));
  HEADWISE_RETURN_IF_ERROR(CheckQueue(request));
  const int64_t prefix_len = prefix == nullptr ? 0 : prefix->length;
  WaitingRequest waiting = {.times = {.submitted = now},
                            .prefix_len = prefix_len,
                            .kv_bytes = std::move(kv_bytes),
                            .prompt_cost = PromptCost(request, prefix_len)};
  waiting.request = std::move(request);
  if (!waiting.request.received.empty()) {
    waiting.progress.prompt_rows = waiting.prompt_len();
    waiting.progress.generated = waiting.request.received;
  }
  HEADWISE_RETURN_IF_ERROR(CheckQuota(waiting, now));
  HEADWISE_RETURN_IF_ERROR(CheckDeadline(waiting, now));
  buckets_.Take(waiting.request.tenant,
                options_.quotas.Of(waiting.request.tenant),
                waiting.prompt_len(), now);
  return Enqueue(std::move(waiting));
}

uint64_t Scheduler::Enqueue(WaitingRequest waiting) {
  const EngineRequest& request = waiting.request;
  const uint64_t id = ++last_request_id_;
  if (request.deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(request.deadline, id);
  }
  if (request.fork_from != 0) held_.AddFork(id, request.fork_from);
  waiting_.emplace(id, std::move(waiting));
  return id;
}

absl::Status Scheduler::CheckQueue(const EngineRequest& request) const {
  const std::string& tenant = request.tenant;
  const int64_t limit = options_.max_queued_requests;
  const int64_t kept = limit / kQueueKept;
  const int64_t num_waiting = static_cast<int64_t>(waiting_.size());
  if (request.is_background) {
    const int64_t in_background = std::count_if(
        waiting_.begin(), waiting_.end(), [](const auto& waiting) {
          return waiting.second.request.is_background;
        });
    const int64_t most = (limit + 1) / 2;
    if (in_background >= most) {
      return WithFacts(
          absl::ResourceExhaustedError(
              absl::StrCat(in_background, " of priority batch wait already, ",
                           "at most ", most)),
          {.reason = "QUEUE_FULL", .retry_after = RetryTime(num_waiting)});
    }
  }
  if (num_waiting < limit - kept) return absl::OkStatus();
  if (num_waiting >= limit) {
    return WithFacts(
        absl::ResourceExhaustedError(absl::StrCat(
            num_waiting, " requests wait already, at most ", limit)),
        {.reason = "QUEUE_FULL", .retry_after = RetryTime(num_waiting)});
  }
  const int64_t of_tenant = std::count_if(
      waiting_.begin(), waiting_.end(), [&tenant](const auto& waiting) {
        return waiting.second.request.tenant == tenant;
      });
  if (of_tenant < kept) return absl::OkStatus();
  return WithFacts(
      absl::ResourceExhaustedError(
          absl::StrCat(of_tenant, " requests of this tenant wait already, ",
                       num_waiting, " in all; the last ", kept, " places of ",
                       limit, " are kept for tenants that have fewer waiting")),
      {.reason = "QUEUE_FULL", .retry_after = RetryTime(NumBefore(tenant))});
}

void Scheduler::AdmitWaiting(SentStep& sent, absl::Time now) {
  queue_stands_ = false;
  if (!AdmitSuspect(now) && AdmitWaiting(/*of_background=*/false, sent, now)) {
    AdmitWaiting(/*of_background=*/true, sent, now);
  }
  times_.OnQueue(queue_stands_, now);
}

bool Scheduler::HasWaiting() const {
  return std::any_of(waiting_.begin(), waiting_.end(), [](const auto& waiting) {
    return !waiting.second.is_background();
  });
}

std::vector<uint64_t> Scheduler::WaitingInOrder(bool of_background,
                                                absl::Time now) const {
  std::vector<uint64_t> order = WaitingInTurn(of_background);
  std::vector<std::pair<absl::Duration, uint64_t>> late;  // spare: below 0
  std::erase_if(order, [&](uint64_t id) {
    const absl::Duration spare = TimeToSpare(waiting_.at(id), now);
    if (spare >= absl::ZeroDuration()) return false;
    late.emplace_back(-spare, id);
    return true;
  });
  std::sort(late.begin(), late.end());
  for (const auto& [missing, id] : late) order.push_back(id);
  return order;
}

std::vector<uint64_t> Scheduler::WaitingInTurn(bool of_background) const {
  struct Tenant {
    int64_t begun = 0;  // run, or stand in the order before what follows
    std::deque<uint64_t> waiting;
  };
  std::map<std::string, Tenant> tenants;
  size_t num_waiting = 0;
  for (const auto& [id, waiting] : waiting_) {
    if (waiting.is_background() != of_background) continue;
    tenants[waiting.request.tenant].waiting.push_back(id);
    ++num_waiting;
  }
  for (const auto& [id, sequence] : running_) {
    // What a restore is for waits still.
    if (sequence.is_background() != of_background || sequence.is_restore()) {
      continue;
    }
    const auto tenant = tenants.find(sequence.request().tenant);
    if (tenant != tenants.end()) ++tenant->second.begun;
  }
  std::vector<uint64_t> order;
  while (order.size() < num_waiting) {
    Tenant* next = nullptr;
    for (auto& [name, tenant] : tenants) {
      if (tenant.waiting.empty()) continue;
      if (next == nullptr ||
          std::pair(tenant.begun, tenant.waiting.front()) <
              std::pair(next->begun, next->waiting.front())) {
        next = &tenant;
      }
    }
    order.push_back(next->waiting.front());
    next->waiting.pop_front();
    ++next->begun;
  }
  return order;
}

bool Scheduler::AdmitWaiting(bool of_background, SentStep& sent,
                             absl::Time now) {
  const auto is_full = [&] {
    return static_cast<int64_t>(running_.size()) == max_running_ &&
           (of_background || Preemptible().empty());
  };
  if (is_full()) {
    if (!of_background) queue_stands_ = HasWaiting();
    return false;
  }
  bool only_forks = false;
  // Those whose prefixes run again first, and the room that is kept for them.
  std::vector<uint64_t> kept_for;
  std::vector<int64_t> kept(kv_.capacity().size(), 0);
  for (const uint64_t id : WaitingInOrder(of_background, now)) {
    WaitingRequest& waiting = waiting_.at(id);
    if (is_full()) {
      queue_stands_ |= !of_background;
      return false;
    }
    if (only_forks && waiting.request.fork_from == 0) continue;
    if (!QuotaAllows(waiting, kept_for, sent)) continue;  // its tenant's matter
    if (of_background && !MayRunInBackground(waiting)) return false;
    kept_for.push_back(id);
    const bool has_room = MakeRoom(
        of_background, SumByRank(NeedOf(waiting), kept), kept_for, sent);
    if (!has_room && !FitsBesidePrefixes(id, waiting)) {
      kept_for.pop_back();
      only_forks = true;
      continue;
    }
    if (!has_room || !BeginOne(id, waiting, sent, now)) {
      queue_stands_ |= !of_background;
      return false;
    }
    if (running_.contains(id)) {
      waiting_.erase(id);
      kept_for.pop_back();
    } else {
      kept = SumByRank(NeedOf(waiting), kept);
    }
  }
  return kept_for.empty() && !only_forks;
}

bool Scheduler::BeginOne(uint64_t id, WaitingRequest& waiting, SentStep& sent,
                         absl::Time now) {
  const auto lost = NextRestore(waiting);
  if (!lost.has_value() && !MayBegin(waiting)) {
    if (!waiting.is_background()) PromoteRestores(waiting);
    return true;
  }
  if (static_cast<int64_t>(running_.size()) == max_running_) {
    Preempt(Preemptible().front(), sent);
  }
  return lost.has_value() ? Restore(*lost, waiting.is_background(), now)
                          : AdmitOne(id, waiting, now);
}

bool Scheduler::AdmitOne(uint64_t id, WaitingRequest& waiting, absl::Time now) {
  if (!kv_.Fits(waiting.kv_bytes)) return false;
  const std::optional<uint64_t> plan_id = plans_.Acquire(waiting.request.plan);
  if (!plan_id.has_value()) return false;
  const std::optional<uint64_t> contrast_plan_id =
      plans_.Acquire(waiting.request.contrast_plan);
  if (!contrast_plan_id.has_value()) {
    plans_.Release(*plan_id);
    return false;
  }
  kv_.Reserve(id, std::move(waiting.kv_bytes));
  waiting.times.admitted = std::min(waiting.times.admitted, now);
  running_.emplace(
      id, Sequence(id, *plan_id, *contrast_plan_id, std::move(waiting)));
  return true;
}

}  // namespace headwise
