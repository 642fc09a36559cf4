// Measures how fast the workers of a group are, and decides when the next group
// is placed by it.

#ifndef HEADWISE_SERVER_DISPATCH_SPEED_KEEPER_H_
#define HEADWISE_SERVER_DISPATCH_SPEED_KEEPER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/dispatch/cluster_dispatcher.h"
#include "server/dispatch/group_former.h"
#include "server/membership/membership.h"
#include "server/placement/planner.h"

namespace headwise {

struct SpeedKeeperOptions {
  ModelShape shape;
  // The slowest rank must have computed for so long before it is believed.
  absl::Duration least_measured = absl::Seconds(10);
  // Between two changes of what the workers are taken for.
  absl::Duration least_interval = absl::Minutes(1);
};

// Thread-safe. What workers declare is believed until a placement by what was
// measured would be faster by kLeastGain; then that is, for each registration,
// until the next such change.
class SpeedKeeper {
 public:
  // `clock` must outlive it.
  SpeedKeeper(const SpeedKeeperOptions& options, const Clock& clock);

  // A group serves: what was measured before is forgotten. Its members' speeds
  // are those that its plan was made with.
  void BeginGroup(std::shared_ptr<const FormedGroup> group);

  // What one rank of that group did in one step.
  void Add(const StepSample& sample);

  // Whether the group should form anew for its speeds, as soon as it is idle.
  bool IsWorthMoving() const;

  // Before a group forms: believes what was measured if that is worth it, and
  // gives `members` the speeds that are believed. What changed, for operators,
  // or nothing.
  std::string Apply(std::vector<Member>* members);

 private:
  // By rank of group_; empty if they are not worth a change (now).
  std::vector<double> WorthwhileLocked() const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const SpeedKeeperOptions options_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const FormedGroup> group_ ABSL_GUARDED_BY(mutex_);
  // Seconds of computing by worker's name.
  std::map<std::string, double> seconds_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, double> believed_ ABSL_GUARDED_BY(mutex_);
  absl::Time changed_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_SPEED_KEEPER_H_
