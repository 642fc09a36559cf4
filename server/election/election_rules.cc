#include "server/election/election_rules.h"

namespace headwise {
namespace {

constexpr int kLooksPerLease = 10;
constexpr int kRenewalsPerLease = 5;
constexpr int kMarginPart = 8;

absl::Time BelievedUntil(absl::Time sent_at, absl::Duration lease) {
  return sent_at + lease - lease / kMarginPart;
}

}  // namespace

void ElectionRules::Forget() {
  leads_until_ = absl::InfinitePast();
  lease_id_ = 0;
  leader_address_.clear();
}

void ElectionRules::OnCampaign(absl::Time sent_at,
                               const absl::StatusOr<CampaignResult>& result) {
  Forget();
  next_ = {Act::kCampaign, sent_at + lease_ / kLooksPerLease};
  if (!result.ok()) return;
  if (!result->won) {
    leader_address_ = result->leader_address;
    return;
  }
  leads_until_ = BelievedUntil(sent_at, result->lease);
  lease_id_ = result->lease_id;
  first_epoch_ = result->first_epoch;
  next_ = {Act::kRenew, sent_at + lease_ / kRenewalsPerLease};
}

void ElectionRules::OnRenewal(absl::Time sent_at,
                              const absl::StatusOr<absl::Duration>& lease) {
  if (lease.ok() && *lease > absl::ZeroDuration()) {
    leads_until_ = BelievedUntil(sent_at, *lease);
    next_ = {Act::kRenew, sent_at + lease_ / kRenewalsPerLease};
    return;
  }
  if (lease.ok()) {
    Forget();
    next_ = {Act::kCampaign, sent_at};
    return;
  }
  // etcd may be there again before the lease is over.
  next_ = {Act::kRenew, sent_at + lease_ / (2 * kRenewalsPerLease)};
  if (next_.at < leads_until_) return;
  next_ = {Act::kCampaign, leads_until_};
}

ElectionRole ElectionRules::RoleAt(absl::Time now) const {
  if (now < leads_until_) return ElectionRole::kLeader;
  return leader_address_.empty() ? ElectionRole::kSearching
                                 : ElectionRole::kStandby;
}

}  // namespace headwise
