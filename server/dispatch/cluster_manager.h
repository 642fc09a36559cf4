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
#include "server/dispatch/speed_keeper.h"
#include "server/dispatch/worker_link.h"
#include "server/membership/membership.h"
#include "server/membership/quarantine.h"
#include "server/scheduler/engine.h"

namespace headwise {

// What became of the group of workers.
struct GroupChange {
  absl::Status reason;  // OK: one serves now; else why it was lost
  GroupChoice group = GroupChoice::kInProcess;  // its kind
  // Of a group that is no more: whether something failed. Of one that serves:
  // how the one before it ended, none if it is the first.
  std::optional<GroupEnd> end = std::nullopt;
  ResumeReport resumed = {};  // of one that serves
};

struct ClusterManagerOptions {
  GroupFormerOptions former;
  // The first group waits for so many workers; later ones take who remains.
  size_t min_workers = 1;
  absl::Duration min_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
  // A group that lived so long was a success: the back-off starts over, and
  // what its members did before is forgiven.
  absl::Duration settled_after = absl::Seconds(10);
  // A worker that answers wrongly, or refuses while others prepare, is left out
  // for so long, and twice as long each further time; one that is silent or
  // breaks off, from the second time on and for a tenth.
  absl::Duration quarantine = absl::Seconds(30);
  // A new worker joins when no request runs, or after this long: those that do
  // then pause while a new group runs their tokens again. It must answer a
  // probe before the group is given up for it.
  absl::Duration grow_patience = absl::Seconds(10);
  // Asked before a group is formed; empty: always. False: another coordinator
  // may be in command of the workers.
  std::function<bool()> may_command;
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
  // Hears what the dispatcher's group does; null: speeds are as declared.
  SpeedKeeper* speeds = nullptr;
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
  void OnLost(uint64_t membership_epoch, const GroupLoss& loss);
  void NoticeLoss();
  void NoticeDead();
  void NoticeMembership();
  void MaybeForm();
  // What the former is to know of the book.
  GroupFormerOptions FormerOptions();
  bool MayCommand() const {
    return !options_.may_command || options_.may_command();
  }
  std::string WhyTooFew(size_t have, size_t needed) const;
  void Serve(FormedGroup formed);
  void HandleFailure(const std::vector<Member>& members,
                     const FormationFailure& failure);
  void BlameNewest(const std::vector<Member>& members,
                   const FormationFailure& failure);
  void BlameFor(const FormedGroup& group, const GroupLoss& loss);
  void EndGroup(const absl::Status& reason, GroupEnd end);
  void Tell(const GroupChange& change) const;
  // Counts against the member in future groups; it stays in the book.
  void Blame(const Member& member, const std::string& why);
  void Suspect(const Member& member, const std::string& why);
  // Suspects it and takes it from the book: it must come back by itself.
  void Exclude(const Member& member, const std::string& why);
  void SayLeftOut(const Member& member, const std::string& why,
                  absl::Duration left_out) const;
  std::vector<Member> FitMembers() const;
  bool MayGrow();
  bool IsBusy() const;
  std::vector<std::shared_ptr<WorkerLink>> LinksTo(
      const std::vector<Member>& members);
  void Settle();
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
  Quarantine quarantine_;
  uint64_t epoch_leap_ = 1;
  bool formed_before_ = false;
  bool settled_ = false;  // group_ has lived for settled_after
  // The members of the last attempt, by registration, if it failed in Join
  // without naming anybody.
  std::vector<uint64_t> nameless_failure_;
  absl::Duration backoff_;
  // Of the same members as the last one; with others, an attempt waits for
  // nothing.
  absl::Time next_attempt_ = absl::InfinitePast();
  std::vector<uint64_t> last_members_;  // by registration
  std::optional<GroupEnd> last_end_;
  absl::Time formed_at_ = absl::InfinitePast();
  absl::Time newcomer_since_ = absl::InfiniteFuture();

  mutable absl::Mutex mutex_;
  ClusterStatus status_ ABSL_GUARDED_BY(mutex_);
  // Of the group that the dispatcher has lost: its epoch, and why.
  std::optional<std::pair<uint64_t, GroupLoss>> lost_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_H_
