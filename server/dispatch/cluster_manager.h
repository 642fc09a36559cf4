// Keeps a group of workers standing: forms it, notices its loss, forms it anew.

#ifndef HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_H_
#define HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_H_

#include <climits>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/dispatch/cluster_dispatcher.h"
#include "server/dispatch/group_former.h"
#include "server/dispatch/worker_link.h"
#include "server/membership/membership.h"
#include "server/scheduler/engine.h"

namespace headwise {

// What became of the group of workers.
struct GroupChange {
  absl::Status reason;  // OK: one serves now; else why it was lost
  GroupChoice group = GroupChoice::kInProcess;  // its kind
};

struct ClusterManagerOptions {
  GroupFormerOptions former;
  // The first group waits for so many workers; later ones take who remains.
  size_t min_workers = 1;
  absl::Duration min_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
  // A group that lived so long was a success: the back-off starts over.
  absl::Duration settled_after = absl::Seconds(10);
  // A worker that refused while others prepared is left out for so long.
  absl::Duration quarantine = absl::Seconds(30);
  // A new worker joins when no request runs, or after this long at the price of
  // those that do.
  absl::Duration grow_patience = absl::Seconds(10);
  // Called without a lock held; must not block.
  std::function<void(const GroupChange&)> on_change;
  std::function<void(const std::string&)> log;  // one line for operators
};

struct ClusterStatus {
  bool serving = false;
  std::string detail;  // why not, or what serves
  // Attempts to form a group that failed since the last success, and the last
  // one's error.
  int num_failures = 0;
  absl::Status last_failure;
  // The group that serves, or null.
  std::shared_ptr<const FormedGroup> group;
};

// What ClusterManager works with; all must outlive it.
struct ClusterManagerDeps {
  Membership& membership;
  ClusterDispatcher& dispatcher;
  Engine& engine;
  const Clock& clock;
  // A link to a member; called once per registration.
  std::function<std::shared_ptr<WorkerLink>(const MemberInfo&)> make_link;
};

// Thread-safe. Owns one thread once started; it may wait for workers, so nobody
// else waits for it.
class ClusterManager {
 public:
  ClusterManager(const ClusterManagerOptions& options,
                 const ClusterManagerDeps& deps);
  // Stops the thread and ends the group. No change of membership may come
  // meanwhile.
  ~ClusterManager();

  void Start();

  // One turn of the loop, for the own thread or a test without one: notices
  // losses and changes of membership, and forms a group if one can be formed.
  void RunOnce();

  ClusterStatus status() const;

  // OK once a group serves; DeadlineExceeded with the detail if none does in
  // time; the last error once `max_failures` attempts have failed in a row.
  absl::Status WaitUntilServing(absl::Duration timeout,
                                int max_failures = INT_MAX) const;

 private:
  void Loop();
  void Wake();
  void OnLost(uint64_t membership_epoch, absl::Status reason);
  void NoticeLoss();
  void NoticeMembership();
  void MaybeForm();
  void HandleFailure(const std::vector<Member>& members,
                     const FormationFailure& failure);
  void EndGroup(const absl::Status& reason);
  void Tell(const absl::Status& reason, const FormedGroup& group) const;
  void Exclude(const Member& member, const std::string& why);
  std::vector<Member> FitMembers();
  bool MayGrow(const std::vector<Member>& fit);
  void BackOff();
  void SetStatus(bool serving, std::string detail,
                 std::shared_ptr<const FormedGroup> group);
  void Log(const std::string& line) const;

  const ClusterManagerOptions options_;
  const ClusterManagerDeps deps_;
  GroupFormer former_;

  // Of RunOnce, which one thread calls at a time.
  std::shared_ptr<const FormedGroup> group_;
  std::map<uint64_t, std::shared_ptr<WorkerLink>> links_;  // by registration
  std::map<std::string, absl::Time> quarantined_until_;    // by name
  bool formed_before_ = false;
  absl::Duration backoff_;
  absl::Time next_attempt_ = absl::InfinitePast();
  absl::Time formed_at_ = absl::InfinitePast();
  absl::Time newcomer_since_ = absl::InfiniteFuture();

  mutable absl::Mutex mutex_;
  ClusterStatus status_ ABSL_GUARDED_BY(mutex_);
  // Epoch and reason of the group that the dispatcher has lost.
  std::optional<std::pair<uint64_t, absl::Status>> lost_
      ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_H_
