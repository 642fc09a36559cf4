#include "server/coordinator/lead.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"

namespace headwise {

void Lead::Begin(Coordinator& coordinator, std::function<void()> on_change) {
  coordinator_ = &coordinator;
  on_change_ = std::move(on_change);
  Follow("");
}

void Lead::Join(ElectorOptions options) {
  options.on_lead = [this](uint64_t first_epoch) {
    coordinator_->Lead(first_epoch);
    Set(absl::OkStatus());
    on_change_();
  };
  options.on_follow = [this](const std::string& leader) {
    Follow(leader);
    on_change_();
  };
  elector_ = std::make_unique<Elector>(std::move(options));
  published_ = elector_.get();
}

void Lead::Leave() {
  if (elector_ != nullptr) elector_->Stop();
}

void Lead::Follow(const std::string& leader) {
  const absl::Status why = WithFacts(
      absl::UnavailableError(
          leader.empty()
              ? "this coordinator does not lead, and no leader is known"
              : absl::StrCat("this coordinator is a standby of the leader at ",
                             leader)),
      {.reason = "NOT_LEADER", .leader = leader});
  Set(why);
  coordinator_->Follow(why);
}

void Lead::Set(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  status_ = std::move(status);
}

bool Lead::MayCommand() const {
  const Elector* elector = published_;
  return elector != nullptr && elector->Leads();
}

absl::Status Lead::Check() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

ClusterStatus Lead::Show(ClusterStatus status) const {
  const absl::Status leads = Check();
  if (leads.ok()) return status;
  status.serving = false;
  status.group = nullptr;
  status.detail = std::string(leads.message());
  return status;
}

}  // namespace headwise
