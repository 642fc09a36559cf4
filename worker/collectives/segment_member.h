// One rank's part in a host segment: telling peers, waiting for them, failing.

#ifndef HEADWISE_WORKER_COLLECTIVES_SEGMENT_MEMBER_H_
#define HEADWISE_WORKER_COLLECTIVES_SEGMENT_MEMBER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "worker/collectives/group_options.h"
#include "worker/collectives/host_segment.h"

namespace headwise {

// Fail may be called from any thread; all else from one thread at a time.
//
// No wake is lost: a waiter counts itself in the peer's num_sleepers, reads the
// peer's bell, looks once more whether it must wait, and sleeps only while the
// bell is unchanged. Whoever ends the wait (the peer by publishing, any rank by
// declaring the group dead) first stores that fact and then rings. All of these
// are sequentially consistent, so either the waiter sees the fact or the other
// side sees the waiter.
class SegmentMember {
 public:
  // Requires that all ranks have claimed their place in `segment`.
  SegmentMember(std::shared_ptr<HostSegment> segment, int rank,
                const GroupOptions& options);
  // Peers that still wait for this rank fail at once.
  ~SegmentMember();

  int rank() const { return rank_; }
  const HostSegment& segment() const { return *segment_; }

  // Starts the clock of a call. Fails if the group is dead.
  absl::Status StartCall();

  // Sets one of this rank's own counters and wakes who waits for it.
  // Everything written before is visible to whoever sees the value.
  void Publish(std::atomic<uint64_t>& counter, uint64_t value);

  // Waits until `counter` of `peer` has reached `value`. A peer that keeps the
  // protocol is at most `max_ahead` further; what is beyond is refused.
  absl::Status WaitFor(int peer, const std::atomic<uint64_t>& counter,
                       uint64_t value, uint64_t max_ahead = 1);

  // Waits until every peer has published `value` rounds.
  absl::Status WaitForAll(uint64_t value);

  // Of all waits so far, without those for peers that had come before.
  absl::Duration waited() const { return waited_; }

  // Declares the group dead, here and for all peers, and wakes everybody.
  // Returns the reason of the first failure, which later calls get too.
  absl::Status Fail(absl::Status reason);

 private:
  enum class WaitResult { kReached, kDead, kPeerGone, kDeadline };

  WaitResult Wait(int peer, const std::atomic<uint64_t>& counter,
                  uint64_t value);
  WaitResult SpinThenYield(absl::Time start, int peer,
                           const std::atomic<uint64_t>& counter,
                           uint64_t value);
  WaitResult Sleep(int peer, const std::atomic<uint64_t>& counter,
                   uint64_t value);
  void SleepOnce(int peer, const std::atomic<uint64_t>& counter, uint64_t value,
                 absl::Duration limit);
  bool IsDead() const;
  bool IsGone(int peer) const;
  absl::Status DeathReason();
  absl::Status ReasonOfPeer(int peer) const;
  std::vector<int> RanksBehind(int peer) const;
  absl::Status WaitError(WaitResult result, int peer);

  const std::shared_ptr<HostSegment> segment_;
  const int rank_;
  const GroupOptions options_;
  const bool spins_;
  // Copied when the group formed: a peer cannot change them afterwards.
  std::vector<ProcessIdentity> identities_;
  // Calling thread only.
  absl::Time deadline_;  // of the present call
  int num_waits_without_yield_ = 0;
  absl::Duration waited_;

  std::atomic<bool> is_dead_{false};  // failure_ is set
  absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_SEGMENT_MEMBER_H_
