// What each tenant may have of a server.

#ifndef HEADWISE_SERVER_SCHEDULER_TENANT_QUOTAS_H_
#define HEADWISE_SERVER_SCHEDULER_TENANT_QUOTAS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace headwise {

// Of each number 0 is no limit.
struct TenantQuota {
  int64_t max_running = 0;       // requests; others of it wait
  int64_t max_waiting = 0;       // requests
  int64_t max_kv_bytes = 0;      // promised to it, of all ranks together
  double tokens_per_second = 0;  // of prompts and of answers
  // What it may use at once after it has used nothing; of use with
  // tokens_per_second, and then 1 or more.
  double burst_tokens = 0;
};

struct TenantQuotas {
  TenantQuota of_others;  // each that is not named
  std::map<std::string, TenantQuota, std::less<>> named;

  const TenantQuota& Of(absl::string_view tenant) const;
};

// InvalidArgument: a number below 0, or a rate without a burst, by tenant.
absl::Status CheckTenantQuotas(const TenantQuotas& quotas);

// ResourceExhausted: `what` of the tenant is at `value`, its limit is `limit`.
// Becomes a QuotaFailure. Zero `retry_after`: nothing is known.
absl::Status QuotaReached(absl::string_view tenant, absl::string_view what,
                          int64_t value, int64_t limit,
                          absl::Duration retry_after);

// The same of tokens_per_second: `tokens_left` is below 1.
absl::Status TokensUsedUp(absl::string_view tenant, const TenantQuota& quota,
                          double tokens_left);

// How many tenants' buckets are kept; more share one.
inline constexpr size_t kMaxTokenBuckets = 4096;

// Token buckets. A tenant may begin a request while it has tokens left, and
// pays for what it uses as it uses it, so it may owe: what a long prompt takes
// at once is waited for afterwards. Times are the caller's, of a monotonic
// clock. Not thread-safe.
class TokenBuckets {
 public:
  // What the tenant may still use; infinite without a rate.
  double TokensLeft(absl::string_view tenant, const TenantQuota& quota,
                    absl::Time now) const;
  // No effect without a rate.
  void Take(absl::string_view tenant, const TenantQuota& quota, int64_t tokens,
            absl::Time now);

  size_t size() const { return buckets_.size(); }

 private:
  struct Bucket {
    double tokens = 0;  // may be below 0
    absl::Time at;
    absl::Time full_at;
  };
  using Buckets = std::map<std::string, Bucket, std::less<>>;

  static double TokensAt(const Bucket& bucket, const TenantQuota& quota,
                         absl::Time now);
  // Its own, or the one that those share who came when there were too many.
  Buckets::const_iterator Find(absl::string_view tenant) const;

  Buckets buckets_;  // of tenants whose bucket was not full
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_TENANT_QUOTAS_H_
