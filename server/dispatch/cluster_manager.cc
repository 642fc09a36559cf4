#include "server/dispatch/cluster_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/pulse.h"

namespace headwise {
namespace {

// How late a silent member or the end of a back-off may be noticed.
constexpr absl::Duration kTurn = absl::Milliseconds(100);

// Epochs begin at wall milliseconds: six attempts make up for an hour, eight
// for seven weeks.
constexpr uint64_t kLeapFactor = 16;
constexpr uint64_t kMaxLeap = uint64_t{1} << 32;

bool HasRegistration(const std::vector<Member>& members, uint64_t id) {
  return std::any_of(
      members.begin(), members.end(),
      [id](const Member& member) { return member.registration_id == id; });
}

}  // namespace

ClusterManager::ClusterManager(const ClusterManagerOptions& options,
                               const ClusterManagerDeps& deps)
    : options_(options),
      deps_(deps),
      former_(FormerOptions()),
      quarantine_(options.quarantine, deps.clock),
      backoff_(options.min_backoff) {
  deps_.membership.SetListener([this] { Wake(); });
  SetStatus(false, "no worker has come yet", nullptr);
}

ClusterManager::~ClusterManager() {
  deps_.membership.SetListener(nullptr);
  former_.Cancel();
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  deps_.dispatcher.ClearGroup(
      absl::CancelledError("the coordinator is shutting down"));
}

void ClusterManager::Start() {
  HEADWISE_CHECK(!thread_.joinable());
  thread_ = std::thread([this] { Loop(); });
}

void ClusterManager::Loop() {
  ThreadPulse pulse("hw-manager");
  while (true) {
    pulse.Beat();
    RunOnce();
    absl::MutexLock lock(&mutex_);
    const auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return woken_ || stopping_;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&awake), kTurn);
    woken_ = false;
    if (stopping_) return;
  }
}

void ClusterManager::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void ClusterManager::OnLost(uint64_t membership_epoch, const GroupLoss& loss) {
  absl::MutexLock lock(&mutex_);
  lost_.emplace(membership_epoch, loss);
  woken_ = true;
}

void ClusterManager::RunOnce() {
  NoticeLoss();
  NoticeMembership();
  MaybeForm();
}

// The dispatcher has lost the group: find out who is to blame.
void ClusterManager::NoticeLoss() {
  std::optional<std::pair<uint64_t, GroupLoss>> lost;
  {
    absl::MutexLock lock(&mutex_);
    lost.swap(lost_);
  }
  // The news may be of a group that was ended for another reason.
  if (!lost.has_value() || group_ == nullptr ||
      group_->membership_epoch != lost->first) {
    return;
  }
  const std::shared_ptr<const FormedGroup> group = group_;
  const GroupLoss& loss = lost->second;
  EndGroup(loss.reason, GroupEnd::kLost);
  BlameFor(*group, loss);
}

GroupFormerOptions ClusterManager::FormerOptions() {
  GroupFormerOptions former = options_.former;
  former.has_left = [this](const Member& member) {
    NoticeDead();
    return !HasRegistration(deps_.membership.view()->members,
                            member.registration_id);
  };
  return former;
}

void ClusterManager::NoticeDead() {
  for (const std::string& name : deps_.membership.RemoveDead()) {
    Log(absl::StrCat("worker ", name, " is silent: taken for dead"));
  }
}

void ClusterManager::NoticeMembership() {
  NoticeDead();
  const auto view = deps_.membership.view();
  for (auto it = links_.begin(); it != links_.end();) {
    it = HasRegistration(view->members, it->first) ? std::next(it)
                                                   : links_.erase(it);
  }
  if (group_ == nullptr) return;
  const std::shared_ptr<const FormedGroup> group = group_;  // outlives its end
  for (const Member& member : group->members) {
    if (HasRegistration(view->members, member.registration_id)) continue;
    EndGroup(absl::UnavailableError(
                 absl::StrCat("worker ", member.info.name, " has left")),
             GroupEnd::kLost);
    // A worker that dies in each group often leaves before its step fails.
    Suspect(member, "has left");
    return;
  }
  if (!settled_ && deps_.clock.Now() - formed_at_ > options_.settled_after) {
    Settle();
  }
  if (MayGrow()) {
    EndGroup(absl::UnavailableError("the group is formed anew to take in a "
                                    "worker that has come"),
             GroupEnd::kPlanned);
  } else if (deps_.speeds != nullptr && !IsBusy() &&
             deps_.speeds->IsWorthMoving()) {
    EndGroup(absl::UnavailableError(
                 "the group is formed anew, by its workers' speeds"),
             GroupEnd::kPlanned);
  }
}

bool ClusterManager::IsBusy() const {
  const EngineStats stats = deps_.engine.stats();
  return stats.running > 0 || stats.waiting > 0;
}

void ClusterManager::Settle() {
  settled_ = true;
  backoff_ = options_.min_backoff;
  for (const Member& member : group_->members) {
    quarantine_.Forgive(member.info.name);
  }
}

// Excludes newcomers that do not answer, so that the group is not given up for
// them.
bool ClusterManager::MayGrow() {
  std::vector<Member> newcomers = FitMembers();
  newcomers.erase(std::remove_if(newcomers.begin(), newcomers.end(),
                                 [this](const Member& member) {
                                   return HasRegistration(
                                       group_->members, member.registration_id);
                                 }),
                  newcomers.end());
  if (newcomers.empty()) {
    newcomer_since_ = absl::InfiniteFuture();
    return false;
  }
  const absl::Time now = deps_.clock.Now();
  newcomer_since_ = std::min(newcomer_since_, now);
  if (IsBusy() && now - newcomer_since_ <= options_.grow_patience) return false;
  const std::vector<size_t> silent = former_.FindSilent(LinksTo(newcomers));
  for (const size_t rank : silent) {
    Exclude(newcomers[rank], "does not answer");
  }
  return silent.size() < newcomers.size();
}

std::vector<Member> ClusterManager::FitMembers() const {
  std::vector<Member> fit = deps_.membership.view()->members;
  fit.erase(std::remove_if(fit.begin(), fit.end(),
                           [this](const Member& member) {
                             return quarantine_.Holds(member.info.name);
                           }),
            fit.end());
  return fit;
}

std::vector<std::shared_ptr<WorkerLink>> ClusterManager::LinksTo(
    const std::vector<Member>& members) {
  std::vector<std::shared_ptr<WorkerLink>> links;
  for (const Member& member : members) {
    std::shared_ptr<WorkerLink>& link = links_[member.registration_id];
    if (link == nullptr) link = deps_.make_link(member.info);
    links.push_back(link);
  }
  return links;
}

std::string ClusterManager::WhyTooFew(size_t have, size_t needed) const {
  std::string why = absl::StrCat(have, " workers are ready, needed ", needed);
  for (const Member& member : deps_.membership.view()->members) {
    if (!quarantine_.Holds(member.info.name)) continue;
    absl::StrAppend(&why, "; ", member.info.name,
                    " is left out after it failed");
  }
  return why;
}

void ClusterManager::MaybeForm() {
  if (group_ != nullptr || !MayCommand()) return;
  std::vector<Member> members = FitMembers();
  std::vector<uint64_t> ids = RegistrationsOf(members);
  if (ids == last_members_ && deps_.clock.Now() < next_attempt_) return;
  last_members_ = std::move(ids);
  const size_t needed = formed_before_ ? 1 : options_.min_workers;
  if (members.size() < needed) {
    const std::string why = WhyTooFew(members.size(), needed);
    if (why != status().detail) Log(absl::StrCat("no group: ", why));
    SetStatus(false, why, nullptr);
    return;
  }
  if (deps_.speeds != nullptr) {
    const std::string change = deps_.speeds->Apply(&members);
    if (!change.empty()) Log(change);
  }
  // A number of its own for each attempt: what an earlier one left behind at
  // the workers can't be mistaken for this one.
  const uint64_t epoch = deps_.membership.Bump(epoch_leap_);
  FormationFailure failure;
  absl::StatusOr<FormedGroup> formed =
      former_.Form(epoch, members, LinksTo(members), &failure);
  if (formed.ok()) {
    Serve(*std::move(formed));
  } else {
    HandleFailure(members, failure);
  }
}

void ClusterManager::Serve(FormedGroup formed) {
  group_ = std::make_shared<const FormedGroup>(std::move(formed));
  formed_before_ = true;
  settled_ = false;
  formed_at_ = deps_.clock.Now();
  newcomer_since_ = absl::InfiniteFuture();
  nameless_failure_.clear();
  if (deps_.speeds != nullptr) deps_.speeds->BeginGroup(group_);
  const uint64_t epoch = group_->membership_epoch;
  StepGroup steps;
  steps.membership_epoch = epoch;
  steps.group = group_->group;
  steps.links = group_->links;
  for (const Member& member : group_->members) {
    steps.names.push_back(member.info.name);
  }
  deps_.dispatcher.SetGroup(
      std::move(steps),
      [this, epoch](const GroupLoss& loss) { OnLost(epoch, loss); });
  const ResumeReport resumed = deps_.engine.Resume(group_->kv_capacity);
  Log(absl::StrCat("serving, ", DescribeGroup(*group_)));
  if (last_end_.has_value()) {
    Log(absl::StrCat(
        "after ", absl::ToInt64Milliseconds(resumed.paused),
        " ms without a group, requests go on: ", resumed.num_rebuilt,
        "; no longer fit: ", resumed.num_ended));
  }
  SetStatus(true, DescribeGroup(*group_), group_);
  Tell({absl::OkStatus(), group_->group, last_end_, resumed});
}

void ClusterManager::HandleFailure(const std::vector<Member>& members,
                                   const FormationFailure& failure) {
  Log(absl::StrCat("no group: ", failure.status.ToString()));
  for (const size_t rank : failure.silent) {
    Exclude(members[rank], "is gone");
  }
  for (const size_t rank : failure.unfit) {
    Blame(members[rank], "could not prepare");
  }
  BlameNewest(members, failure);
  // Workers that know a newer epoch served one whose clock was ahead of ours:
  // nobody's fault, unless it never ends.
  if (epoch_leap_ == kMaxLeap) {
    for (const size_t rank : failure.ahead) {
      Blame(members[rank], "calls every epoch an old one");
    }
  }
  epoch_leap_ =
      failure.ahead.empty() ? 1 : std::min(epoch_leap_ * kLeapFactor, kMaxLeap);
  SetStatus(false, std::string(failure.status.message()), nullptr);
  {
    absl::MutexLock lock(&mutex_);
    ++status_.num_failures;
    status_.last_failure = failure.status;
  }
  BackOff();
}

void ClusterManager::EndGroup(const absl::Status& reason, GroupEnd end) {
  const std::shared_ptr<const FormedGroup> ended = std::move(group_);
  deps_.dispatcher.ClearGroup(reason);
  deps_.engine.Suspend(absl::UnavailableError(reason.message()), end);
  Log(absl::StrCat(
      end == GroupEnd::kPlanned ? "the group ends: " : "the group is lost: ",
      reason.ToString()));
  SetStatus(false, std::string(reason.message()), nullptr);
  last_end_ = end;
  Tell({reason, ended->group, end});
  BackOff();
}

void ClusterManager::BackOff() {
  next_attempt_ = deps_.clock.Now() + backoff_;
  backoff_ = std::min(backoff_ * 2, options_.max_backoff);
}

void ClusterManager::SetStatus(bool serving, std::string detail,
                               std::shared_ptr<const FormedGroup> group) {
  absl::MutexLock lock(&mutex_);
  status_.serving = serving;
  status_.detail = std::move(detail);
  status_.group = std::move(group);
  if (serving) status_.num_failures = 0;
}

void ClusterManager::Tell(const GroupChange& change) const {
  if (options_.on_change) options_.on_change(change);
}

void ClusterManager::Log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

ClusterStatus ClusterManager::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

absl::Status ClusterManager::WaitUntilServing(absl::Duration timeout,
                                              int max_failures) const {
  absl::MutexLock lock(&mutex_);
  const auto decided = [this,
                        max_failures]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return status_.serving || status_.num_failures >= max_failures;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&decided), timeout);
  if (status_.serving) return absl::OkStatus();
  if (status_.num_failures >= max_failures) return status_.last_failure;
  return absl::DeadlineExceededError(
      absl::StrCat("no group of workers stands after ",
                   absl::FormatDuration(timeout), ": ", status_.detail));
}

}  // namespace headwise
