#include "server/dispatch/speed_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/placement/measured_speeds.h"

namespace headwise {
namespace {

// As GroupFormer places.
constexpr int64_t kContextLen = 64;

// So that a recovery is seen: when the slowest has computed for so many times
// least_measured, what is older counts half.
constexpr double kForgetAfter = 4.0;

std::vector<WorkerCapacity> CapacitiesOf(const FormedGroup& group) {
  std::vector<WorkerCapacity> workers;
  for (const Member& member : group.members) {
    workers.push_back(
        {member.info.name, member.info.speed, member.info.memory_bytes});
  }
  return workers;
}

}  // namespace

SpeedKeeper::SpeedKeeper(const SpeedKeeperOptions& options, const Clock& clock)
    : options_(options), clock_(clock) {}

void SpeedKeeper::BeginGroup(std::shared_ptr<const FormedGroup> group) {
  absl::MutexLock lock(&mutex_);
  group_ = std::move(group);
  seconds_.clear();
  // Who has left never comes back under its registration.
  std::map<uint64_t, double> present;
  for (const Member& member : group_->members) {
    const auto found = believed_.find(member.registration_id);
    if (found != believed_.end()) present.insert(*found);
  }
  believed_ = std::move(present);
}

void SpeedKeeper::Add(const StepSample& sample) {
  absl::MutexLock lock(&mutex_);
  double& seconds = seconds_[sample.worker];
  seconds += sample.timing.compute_seconds;
  const double limit =
      kForgetAfter * absl::ToDoubleSeconds(options_.least_measured);
  if (seconds <= limit) return;
  for (auto& [name, total] : seconds_) total /= 2;
}

std::vector<double> SpeedKeeper::WorthwhileLocked() const {
  if (group_ == nullptr || group_->members.size() < 2) return {};
  if (clock_.Now() - changed_at_ < options_.least_interval) return {};
  std::vector<double> seconds;
  for (const Member& member : group_->members) {
    const auto found = seconds_.find(member.info.name);
    seconds.push_back(found == seconds_.end() ? 0.0 : found->second);
  }
  if (*std::max_element(seconds.begin(), seconds.end()) <
      absl::ToDoubleSeconds(options_.least_measured)) {
    return {};
  }
  const std::vector<WorkerCapacity> workers = CapacitiesOf(*group_);
  std::vector<double> speeds = MeasuredSpeeds(group_->plan, workers, seconds);
  if (speeds.empty() || GainOfMoving(options_.shape, group_->plan, workers,
                                     speeds, kContextLen) < kLeastGain) {
    return {};
  }
  return speeds;
}

bool SpeedKeeper::IsWorthMoving() const {
  absl::MutexLock lock(&mutex_);
  return !WorthwhileLocked().empty();
}

std::string SpeedKeeper::Apply(std::vector<Member>* members) {
  std::string change;
  absl::MutexLock lock(&mutex_);
  const std::vector<double> speeds = WorthwhileLocked();
  for (size_t rank = 0; rank < speeds.size(); ++rank) {
    const Member& member = group_->members[rank];
    believed_[member.registration_id] = speeds[rank];
    absl::StrAppend(&change, change.empty() ? "speeds as measured: " : ", ",
                    member.info.name, " ",
                    absl::StrFormat("%.3g", speeds[rank]));
  }
  if (!speeds.empty()) changed_at_ = clock_.Now();
  for (Member& member : *members) {
    const auto found = believed_.find(member.registration_id);
    if (found != believed_.end()) member.info.speed = found->second;
  }
  return change;
}

}  // namespace headwise
