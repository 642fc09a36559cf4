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
    int64_t kv_bytes = SumOf(NeedOf(waiting)) + UseOf(tenant).held_bytes;
    for (const uint64_t id : EvictableOfTenant(waiting, {})) {
      kv_bytes -= SumOf(kv_.Reserved(id));
    }
    if (kv_bytes > quota.max_kv_bytes) {
      return QuotaReached(tenant, "kv_bytes", kv_bytes, quota.max_kv_bytes,
                          kAskAgainAtLast);
    }
  }
  const double tokens_left = buckets_.TokensLeft(tenant, quota, now);
  if (tokens_left < 1) return TokensUsedUp(tenant, quota, tokens_left);
  return absl::OkStatus();
}

std::vector<uint64_t> Scheduler::EvictableOfTenant(
    const WaitingRequest& waiting,
    const std::vector<uint64_t>& kept_for) const {
  std::vector<uint64_t> ids = EvictableFor(kept_for);
  std::vector<uint64_t> chain;
  if (const uint64_t origin = waiting.request.fork_from; origin != 0) {
    chain = held_.ChainOf(origin);
  }
  std::erase_if(ids, [&](uint64_t id) {
    return held_.At(id).tenant != waiting.request.tenant ||
           std::find(chain.begin(), chain.end(), id) != chain.end();
  });
  return ids;
}

bool Scheduler::QuotaAllows(const WaitingRequest& waiting,
                            const std::vector<uint64_t>& kept_for,
                            SentStep& sent) {
  const std::string& tenant = waiting.request.tenant;
  const TenantQuota& quota = options_.quotas.Of(tenant);
  if (quota.max_running > 0 && NumRunning(tenant) >= quota.max_running) {
    return false;
  }
  if (quota.max_kv_bytes == 0) return true;
  const int64_t needed = SumOf(NeedOf(waiting));
  const auto missing = [&] {
    const TenantUse use = UseOf(tenant);
    return use.running_bytes + use.held_bytes + needed - quota.max_kv_bytes;
  };
  if (missing() <= 0) return true;
  const std::vector<uint64_t> evictable = EvictableOfTenant(waiting, kept_for);
  int64_t room = 0;
  for (const uint64_t id : evictable) room += SumOf(kv_.Reserved(id));
  if (missing() > room) return false;
  for (const uint64_t id : evictable) {
    if (missing() <= 0) break;
    Evict(id, sent);
  }
  return true;
}

}  // namespace headwise
