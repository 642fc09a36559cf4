// The part of the scheduler that holds tenants to their quotas.

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

int64_t SumOf(const std::vector<int64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), int64_t{0});
}

}  // namespace

int64_t Scheduler::NumRunning(const std::string& tenant) const {
  return std::count_if(
      running_.begin(), running_.end(), [&tenant](const auto& running) {
        const Sequence& sequence = running.second;
        return sequence.request().tenant == tenant && !sequence.is_restore();
      });
}

Scheduler::TenantUse Scheduler::UseOf(const std::string& tenant) const {
  TenantUse use;
  for (const auto& [id, sequence] : running_) {
    if (sequence.request().tenant != tenant || sequence.is_restore()) continue;
    use.running_bytes += SumOf(kv_.Reserved(id));
  }
  for (const uint64_t id : held_.ids()) {
    if (held_.At(id).tenant == tenant) {
      use.held_bytes += SumOf(kv_.Reserved(id));
    }
  }
  return use;
}

absl::Status Scheduler::CheckQuota(const WaitingRequest& waiting,
                                   absl::Time now) const {
  const std::string& tenant = waiting.request.tenant;
  const TenantQuota& quota = options_.quotas.Of(tenant);
  if (quota.max_waiting > 0) {
    const int64_t num_waiting = std::count_if(
        waiting_.begin(), waiting_.end(), [&tenant](const auto& other) {
          return other.second.request.tenant == tenant;
        });
    if (num_waiting >= quota.max_waiting) {
      return QuotaReached(tenant, "waiting", num_waiting + 1, quota.max_waiting,
                          RetryTime(NumBefore(tenant)));
    }
  }
  if (quota.max_kv_bytes > 0) {
    // What is held does not go by itself.
    const int64_t kv_bytes = SumOf(waiting.kv_bytes) + UseOf(tenant).held_bytes;
    if (kv_bytes > quota.max_kv_bytes) {
      return QuotaReached(tenant, "kv_bytes", kv_bytes, quota.max_kv_bytes,
                          kAskAgainAtLast);
    }
  }
  const double tokens_left = buckets_.TokensLeft(tenant, quota, now);
  if (tokens_left < 1) return TokensUsedUp(tenant, quota, tokens_left);
  return absl::OkStatus();
}

bool Scheduler::QuotaAllows(const WaitingRequest& waiting) const {
  const TenantQuota& quota = options_.quotas.Of(waiting.request.tenant);
  if (waiting.is_restore() ||
      (quota.max_running == 0 && quota.max_kv_bytes == 0)) {
    return true;
  }
  if (quota.max_running > 0 &&
      NumRunning(waiting.request.tenant) >= quota.max_running) {
    return false;
  }
  if (quota.max_kv_bytes == 0) return true;
  const TenantUse use = UseOf(waiting.request.tenant);
  return use.running_bytes + use.held_bytes + SumOf(waiting.kv_bytes) <=
         quota.max_kv_bytes;
}

}  // namespace headwise
