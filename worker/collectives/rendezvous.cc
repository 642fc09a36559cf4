#include "worker/collectives/rendezvous.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

std::string KeyOf(const GroupSpec& spec, int rank) {
  return absl::StrCat("group/", spec.membership_epoch, "/", rank);
}

}  // namespace

absl::Status InMemoryRendezvousStore::Set(absl::string_view key,
                                          absl::string_view value) {
  absl::MutexLock lock(&mutex_);
  if (!values_.emplace(key, value).second) {
    return absl::AlreadyExistsError(absl::StrCat(key, " has a value"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> InMemoryRendezvousStore::Get(absl::string_view key,
                                                         absl::Time deadline) {
  const absl::Duration timeout = deadline - Clock::Monotonic().Now();
  absl::MutexLock lock(&mutex_);
  const auto has_value = [this, key]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return values_.find(key) != values_.end();
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&has_value), timeout)) {
    return absl::DeadlineExceededError(absl::StrCat("nobody set ", key));
  }
  return values_.find(key)->second;
}

absl::StatusOr<std::unique_ptr<Group>> FormGroup(const GroupSpec& spec,
                                                 RendezvousStore& store) {
  HEADWISE_ASSIGN_OR_RETURN(const auto pending, PendingGroup::Prepare(spec));
  HEADWISE_RETURN_IF_ERROR(
      store.Set(KeyOf(spec, spec.rank), pending->endpoint()));
  const absl::Time deadline = Clock::Monotonic().Now() + spec.join_timeout;
  std::vector<std::string> endpoints(spec.world_size);
  for (int rank = 0; rank < spec.world_size; ++rank) {
    HEADWISE_ASSIGN_OR_RETURN(endpoints[rank],
                              store.Get(KeyOf(spec, rank), deadline));
  }
  return pending->Join(endpoints);
}

}  // namespace headwise
