#include "server/election/elector.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/pulse.h"

namespace headwise {
namespace {

int64_t ToNanoseconds(absl::Time time) {
  return absl::ToUnixNanos(std::max(time, absl::UnixEpoch()));
}

}  // namespace

Elector::Elector(ElectorOptions options)
    : options_(std::move(options)),
      etcd_(options_.etcd),
      rules_(options_.etcd.lease),
      thread_([this] { Loop(); }) {}

void Elector::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  thread_.join();
  leads_until_ns_ = 0;
  if (rules_.lease_id() != 0) etcd_.Resign(rules_.lease_id()).IgnoreError();
}

bool Elector::Leads() const {
  return ToNanoseconds(Clock::Monotonic().Now()) < leads_until_ns_;
}

void Elector::Loop() {
  // A turn asks etcd four times at most.
  const absl::Duration allowance =
      kPulseAllowance + 4 * options_.etcd.call_timeout;
  ThreadPulse pulse("hw-elector");
  while (true) {
    pulse.Beat(allowance);
    Turn();
    const absl::Time now = Clock::Monotonic().Now();
    absl::Duration wait = rules_.NextAct().at - now;
    if (rules_.RoleAt(now) == ElectionRole::kLeader) {
      wait = std::min(wait, rules_.leads_until() - now);
    }
    wait = std::clamp(wait, absl::ZeroDuration(), kPulseInterval);
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), wait)) return;
  }
}

void Elector::Turn() {
  const absl::Time now = Clock::Monotonic().Now();
  Tell();  // a lease may have ended meanwhile
  if (now < rules_.NextAct().at) return;
  switch (rules_.NextAct().act) {
    case ElectionRules::Act::kCampaign:
      Campaign(now);
      break;
    case ElectionRules::Act::kRenew:
      Renew(now);
      break;
  }
  Tell();
}

void Elector::Campaign(absl::Time now) {
  // etcd may have lost its counter. Wall milliseconds outlive this process;
  // what it knows of its own leads is safe from a clock that was set back.
  const uint64_t min_epoch =
      std::max(static_cast<uint64_t>(absl::ToUnixMillis(absl::Now())),
               rules_.first_epoch() + kEpochsPerLead);
  const absl::StatusOr<CampaignResult> result =
      etcd_.Campaign(options_.address, min_epoch);
  rules_.OnCampaign(now, result);
  if (!result.ok()) SayOnce(result.status().ToString());
}

void Elector::Renew(absl::Time now) {
  const absl::StatusOr<absl::Duration> lease = etcd_.Renew(rules_.lease_id());
  rules_.OnRenewal(now, lease);
  if (!lease.ok()) {
    SayOnce(
        absl::StrCat("the lease is not renewed: ", lease.status().ToString()));
  } else if (*lease == absl::ZeroDuration()) {
    SayOnce("etcd knows nothing of our lease");
  }
}

void Elector::Tell() {
  const ElectionRole role = rules_.RoleAt(Clock::Monotonic().Now());
  const bool leads = role == ElectionRole::kLeader;
  // Before the callbacks: orders stop first, and start last.
  if (!leads) leads_until_ns_ = 0;
  if (leads && !told_lead_) {
    said_.clear();
    options_.log(absl::StrCat("this coordinator leads, from epoch ",
                              rules_.first_epoch(), " on"));
    leads_until_ns_ = ToNanoseconds(rules_.leads_until());
    options_.on_lead(rules_.first_epoch());
  } else if (!leads && (told_lead_ || !told_once_ ||
                        told_leader_ != rules_.leader_address())) {
    told_leader_ = rules_.leader_address();
    options_.log(told_leader_.empty()
                     ? "no leader is known"
                     : absl::StrCat("standby of the leader at ", told_leader_));
    options_.on_follow(told_leader_);
  }
  told_lead_ = leads;
  told_once_ = true;
  if (leads) leads_until_ns_ = ToNanoseconds(rules_.leads_until());
}

void Elector::SayOnce(const std::string& line) {
  if (line == said_) return;
  said_ = line;
  options_.log(line);
}

}  // namespace headwise
