#include "worker/service/in_process_rendezvous.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/collectives/in_process_group.h"

namespace headwise {

class InProcessRendezvous::Pending final : public PendingGroup {
 public:
  Pending(InProcessRendezvous& rendezvous, const GroupSpec& spec)
      : rendezvous_(rendezvous),
        spec_(spec),
        endpoint_(absl::StrCat("in-process ", spec.membership_epoch, " ",
                               spec.rank)) {}

  const std::string& endpoint() const override { return endpoint_; }

  absl::StatusOr<std::unique_ptr<Group>> Join(
      absl::Span<const std::string> endpoints) override {
    for (size_t rank = 0; rank < endpoints.size(); ++rank) {
      const std::string expected =
          absl::StrCat("in-process ", spec_.membership_epoch, " ", rank);
      if (endpoints[rank] != expected) {
        return absl::InvalidArgumentError(absl::StrCat(
            "endpoint of rank ", rank, " is not \"", expected, "\""));
      }
    }
    return rendezvous_.Take(spec_);
  }

 private:
  InProcessRendezvous& rendezvous_;
  const GroupSpec spec_;
  const std::string endpoint_;
};

absl::StatusOr<std::unique_ptr<PendingGroup>> InProcessRendezvous::Prepare(
    const GroupSpec& spec) {
  absl::MutexLock lock(&mutex_);
  std::vector<std::unique_ptr<Group>>& groups = groups_[spec.membership_epoch];
  if (groups.empty()) {
    absl::StatusOr<std::vector<std::unique_ptr<Group>>> made =
        CreateInProcessGroups(spec.world_size, spec.membership_epoch,
                              spec.options);
    if (!made.ok()) {
      groups_.erase(spec.membership_epoch);
      return made.status();
    }
    groups = *std::move(made);
  }
  const size_t world_size = groups.size();
  if (world_size != static_cast<size_t>(spec.world_size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank ", spec.rank, " says world size ", spec.world_size,
        ", another said ", world_size, " in epoch ", spec.membership_epoch));
  }
  // Epochs only grow, so the first is the oldest.
  if (groups_.size() > kMaxEpochs) groups_.erase(groups_.begin());
  return std::make_unique<Pending>(*this, spec);
}

absl::StatusOr<std::unique_ptr<Group>> InProcessRendezvous::Take(
    const GroupSpec& spec) {
  absl::MutexLock lock(&mutex_);
  const auto found = groups_.find(spec.membership_epoch);
  if (found == groups_.end() || found->second[spec.rank] == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", spec.rank, " of epoch ", spec.membership_epoch,
                     " has joined before or is too old"));
  }
  return std::move(found->second[spec.rank]);
}

}  // namespace headwise
