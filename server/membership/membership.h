// Who is alive: the book of workers, and the views that it publishes.

#ifndef HEADWISE_SERVER_MEMBERSHIP_MEMBERSHIP_H_
#define HEADWISE_SERVER_MEMBERSHIP_MEMBERSHIP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/build_info.h"
#include "base/clock.h"
#include "server/membership/member_history.h"

namespace headwise {

// What a worker says of itself.
struct MemberInfo {
  std::string name;          // unique in the cluster; [A-Za-z0-9._:-], 1 to 128
  std::string address;       // host:port, or "in-process"
  std::string host_id;       // equal for processes that can share memory
  double speed = 1.0;        // relative, > 0
  int64_t memory_bytes = 0;  // for weights and KV; 0: unlimited
  uint32_t num_threads = 1;
  std::string isa;
  BuildInfo build = OwnBuild();
  uint64_t process_id = 0;
  // See WorkerInfo of worker.proto: equal for workers on one GPU, and NCCL's
  // version there, 0: none.
  std::string gpu_id;
  uint32_t nccl_version = 0;
};

// Process ids are of a host: without the host's id they tell nothing.
bool IsSameProcess(const MemberInfo& a, const MemberInfo& b);

struct Member {
  MemberInfo info;
  uint64_t registration_id = 0;  // never used twice by one book
};

// What a coordinator and all of `members` speak.
ProtocolRange CommonProtocols(ProtocolRange coordinator,
                              const std::vector<Member>& members);

// Who is alive at one membership epoch. Immutable.
struct MembershipView {
  uint64_t membership_epoch = 0;
  std::vector<Member> members;  // by name, ascending
};

struct MembershipOptions {
  BuildInfo build = OwnBuild();  // the coordinator's
  // A member not heard of for this long is dead.
  absl::Duration dead_after = absl::Seconds(3);
  size_t max_members = 64;  // as many as a placement can have
  // Workers refuse an epoch below their last one, so a coordinator that starts
  // again must begin above its predecessor: edges pass wall milliseconds.
  uint64_t first_epoch = 1;
};

// Thread-safe. Every change of the set of members, and each Bump, gives a new
// view with a larger membership epoch.
class Membership {
 public:
  // `clock` must outlive the book.
  Membership(const MembershipOptions& options, const Clock& clock);

  // Called after each change, without a lock held, by the thread that made the
  // change; must not block. Set before the first change.
  void SetListener(std::function<void()> listener);

  // Adds a worker; returns its registration id. A worker of the same name is
  // replaced: the newer one wins, the older one's Heartbeat tells it so.
  // FailedPrecondition: a build of other numerics, or without a protocol that
  // the coordinator and all other members have (names both). InvalidArgument: a
  // field out of range. ResourceExhausted: max_members are alive.
  absl::StatusOr<uint64_t> Register(const MemberInfo& info);

  // The same, but a member of this name that is the same process stays as it
  // is, is heard of, and its registration id is returned: for one who finds
  // workers that may also announce themselves.
  absl::StatusOr<uint64_t> FindOrRegister(const MemberInfo& info);

  // OK: alive. Aborted: a newer worker has taken the name. NotFound: it is no
  // member any more (silent for too long, removed, or never registered) and may
  // register again.
  absl::Status Heartbeat(uint64_t registration_id);

  // The worker is gone. False if it was no member.
  bool Remove(uint64_t registration_id);

  // Removes who was silent for too long; returns their names, ascending.
  std::vector<std::string> RemoveDead();

  // A new epoch for the same members: a group that failed without losing one
  // is formed again under a number that its remains do not have. `by` >= 1.
  uint64_t Bump(uint64_t by = 1);

  // Nobody is a member, nor may become one: Register returns `why` until Open.
  void Close(absl::Status why);
  // The next epoch is at least `first_epoch`.
  void Open(uint64_t first_epoch);

  std::shared_ptr<const MembershipView> view() const;

  // What has become of those who are no members: MemberHistory.
  void Report(const std::string& address, const std::string& problem);
  std::vector<MissingMember> missing() const;
  std::map<std::string, int64_t> arrivals() const;

 private:
  struct Entry {
    MemberInfo info;
    uint64_t registration_id = 0;
    absl::Time last_heard;
  };

  absl::Status Validate(const MemberInfo& info) const;
  absl::Status CheckProtocolsLocked(const MemberInfo& info) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> AddLocked(const MemberInfo& info)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishLocked(uint64_t by = 1) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify();

  const MembershipOptions options_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::function<void()> listener_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by name
  // Registrations that a newer one of the same name replaced; at most
  // kMaxReplaced are remembered, older ones read as NotFound.
  std::map<uint64_t, std::string> replaced_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);  // not OK: why
  uint64_t next_registration_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::shared_ptr<const MembershipView> view_ ABSL_GUARDED_BY(mutex_);
  MemberHistory history_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_MEMBERSHIP_MEMBERSHIP_H_
