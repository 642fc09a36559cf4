#include "server/scheduler/tenant_quotas.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// No tenant can have that name: x-headwise-tenant has 128 bytes at most.
const std::string& SharedName() {
  static const std::string* const name = new std::string(129, '*');
  return *name;
}

absl::Status CheckOne(absl::string_view tenant, const TenantQuota& quota) {
  const std::pair<const char*, double> numbers[] = {
      {"max_running", static_cast<double>(quota.max_running)},
      {"max_waiting", static_cast<double>(quota.max_waiting)},
      {"max_kv_bytes", static_cast<double>(quota.max_kv_bytes)},
      {"tokens_per_second", quota.tokens_per_second},
      {"burst_tokens", quota.burst_tokens}};
  for (const auto& [name, value] : numbers) {
    if (value >= 0) continue;  // false for NaN
    return absl::InvalidArgumentError(absl::StrCat(
        "quota of ", tenant, ": ", name, " is ", value, ", must be 0 or more"));
  }
  if (quota.tokens_per_second > 0 && quota.burst_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "quota of ", tenant, ": burst_tokens is ", quota.burst_tokens,
        ", must be 1 or more with tokens_per_second"));
  }
  return absl::OkStatus();
}

}  // namespace

const TenantQuota& TenantQuotas::Of(absl::string_view tenant) const {
  const auto found = named.find(tenant);
  return found == named.end() ? of_others : found->second;
}

absl::Status CheckTenantQuotas(const TenantQuotas& quotas) {
  HEADWISE_RETURN_IF_ERROR(CheckOne("others", quotas.of_others));
  for (const auto& [name, quota] : quotas.named) {
    HEADWISE_RETURN_IF_ERROR(CheckOne(absl::StrCat("tenant ", name), quota));
  }
  return absl::OkStatus();
}

absl::Status QuotaReached(absl::string_view tenant, absl::string_view what,
                          int64_t value, int64_t limit,
                          absl::Duration retry_after) {
  return WithFacts(absl::ResourceExhaustedError(
                       absl::StrCat("quota of tenant \"", tenant, "\": ", what,
                                    " is ", value, ", at most ", limit)),
                   {.reason = "TENANT_QUOTA",
                    .quota_subject = absl::StrCat("tenant:", tenant),
                    .numbers = {{std::string(what), value}, {"limit", limit}},
                    .retry_after = retry_after});
}

absl::Status TokensUsedUp(absl::string_view tenant, const TenantQuota& quota,
                          double tokens_left) {
  const auto left = static_cast<int64_t>(std::floor(tokens_left));
  return WithFacts(
      absl::ResourceExhaustedError(absl::StrCat(
          "quota of tenant \"", tenant, "\": ", left, " tokens are left, ",
          quota.tokens_per_second, " come a second, 1 is needed to begin")),
      {.reason = "TENANT_QUOTA",
       .quota_subject = absl::StrCat("tenant:", tenant),
       .numbers = {{"tokens_left", left},
                   {"limit", static_cast<int64_t>(quota.tokens_per_second)}},
       .retry_after = absl::Milliseconds(
           std::ceil(1e3 * (1 - tokens_left) / quota.tokens_per_second))});
}

double TokenBuckets::TokensAt(const Bucket& bucket, const TenantQuota& quota,
                              absl::Time now) {
  const double seconds = std::max(absl::ToDoubleSeconds(now - bucket.at), 0.0);
  return std::min(bucket.tokens + seconds * quota.tokens_per_second,
                  quota.burst_tokens);
}

TokenBuckets::Buckets::const_iterator TokenBuckets::Find(
    absl::string_view tenant) const {
  const auto found = buckets_.find(tenant);
  if (found != buckets_.end() || buckets_.size() < kMaxTokenBuckets) {
    return found;
  }
  return buckets_.find(SharedName());
}

double TokenBuckets::TokensLeft(absl::string_view tenant,
                                const TenantQuota& quota,
                                absl::Time now) const {
  if (quota.tokens_per_second <= 0) {
    return std::numeric_limits<double>::infinity();
  }
  const auto bucket = Find(tenant);
  return bucket == buckets_.end() ? quota.burst_tokens
                                  : TokensAt(bucket->second, quota, now);
}

void TokenBuckets::Take(absl::string_view tenant, const TenantQuota& quota,
                        int64_t tokens, absl::Time now) {
  if (quota.tokens_per_second <= 0) return;
  if (!buckets_.contains(tenant) && buckets_.size() >= kMaxTokenBuckets) {
    std::erase_if(buckets_, [now](const auto& bucket) {
      return bucket.second.full_at <= now;
    });
    if (buckets_.size() >= kMaxTokenBuckets) tenant = SharedName();
  }
  const auto [found, is_new] = buckets_.try_emplace(std::string(tenant));
  Bucket& bucket = found->second;
  const double before =
      is_new ? quota.burst_tokens : TokensAt(bucket, quota, now);
  bucket.tokens = before - static_cast<double>(tokens);
  bucket.at = is_new ? now : std::max(bucket.at, now);
  bucket.full_at = now + absl::Seconds((quota.burst_tokens - bucket.tokens) /
                                       quota.tokens_per_second);
}

}  // namespace headwise
