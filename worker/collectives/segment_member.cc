#include "worker/collectives/segment_member.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"

namespace headwise {
namespace {

// A peer that runs answers within microseconds. Longer spins win nothing: while
// the core is free, yielding notices the peer within half a microsecond, and
// where something else made the scheduler put both ranks on one core, every
// spin is a wait for oneself (measured: 53 us per all_reduce at 50 us of spin,
// 5 us at 2).
constexpr absl::Duration kSpinTime = absl::Microseconds(5);
constexpr absl::Duration kYieldTime = absl::Milliseconds(1);
constexpr absl::Duration kCrowdedYieldTime = absl::Microseconds(20);
// A yield that takes this long gave the core to a stranger for its time slice.
// A sleeper is put back on the core as soon as it is woken, a yielder is not,
// so the next waits sleep at once.
constexpr absl::Duration kLongYield = absl::Microseconds(100);
constexpr int kWaitsAfterLongYield = 256;
// How soon the death of a peer is noticed.
constexpr absl::Duration kLivenessPeriod = absl::Milliseconds(50);
constexpr int kPausesPerClockRead = 64;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

// Not the private futex: the word may be shared between processes.
void FutexWait(std::atomic<uint32_t>& word, uint32_t expected,
               absl::Duration limit) {
  const timespec relative = absl::ToTimespec(limit);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected,
          &relative, nullptr, 0);
}

void Ring(RankState& state) {
  state.bell.fetch_add(1);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&state.bell), FUTEX_WAKE,
          INT_MAX, nullptr, nullptr, 0);
}

bool ShouldSpin(SpinMode mode, int world_size) {
  if (mode != SpinMode::kAuto) return mode == SpinMode::kSpin;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return false;
  return CPU_COUNT(&cpus) >= world_size;
}

absl::Time Now() { return Clock::Monotonic().Now(); }

}  // namespace

SegmentMember::SegmentMember(std::shared_ptr<HostSegment> segment, int rank,
                             const GroupOptions& options)
    : segment_(std::move(segment)),
      rank_(rank),
      options_(options),
      spins_(ShouldSpin(options.spin, segment_->spec().world_size)) {
  for (int peer = 0; peer < segment_->spec().world_size; ++peer) {
    const RankState& state = segment_->rank_state(peer);
    identities_.push_back({state.pid.load(), state.start_time.load()});
  }
}

SegmentMember::~SegmentMember() {
  RankState& mine = segment_->rank_state(rank_);
  mine.presence.store(Presence::kLeft);
  Ring(mine);
}

absl::Status SegmentMember::StartCall() {
  if (IsDead()) return Fail(DeathReason());
  deadline_ = Now() + options_.timeout;
  return absl::OkStatus();
}

void SegmentMember::Publish(std::atomic<uint64_t>& counter, uint64_t value) {
  counter.store(value);  // sequentially consistent: see the class comment
  RankState& mine = segment_->rank_state(rank_);
  if (mine.num_sleepers.load() != 0) Ring(mine);
}

absl::Status SegmentMember::WaitFor(int peer,
                                    const std::atomic<uint64_t>& counter,
                                    uint64_t value, uint64_t max_ahead) {
  const WaitResult result = Wait(peer, counter, value);
  if (result != WaitResult::kReached) return WaitError(result, peer);
  const uint64_t reached = counter.load(std::memory_order_relaxed);
  if (reached - value > max_ahead) {
    return absl::InternalError(
        absl::StrCat("rank ", peer, " claims step ", reached,
                     " while the group is at step ", value));
  }
  return absl::OkStatus();
}

absl::Status SegmentMember::WaitForAll(uint64_t value) {
  for (int peer = 0; peer < segment_->spec().world_size; ++peer) {
    if (peer == rank_) continue;
    const absl::Status status =
        WaitFor(peer, segment_->rank_state(peer).published, value);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SegmentMember::Fail(absl::Status reason) {
  absl::Status first;
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    failure_ = std::move(reason);
    first = failure_;

    RankState& mine = segment_->rank_state(rank_);
    const absl::string_view text = first.message();
    const size_t num_bytes = std::min<size_t>(text.size(), kMaxReasonBytes - 1);
    for (size_t i = 0; i < num_bytes; ++i) mine.abort_reason[i].store(text[i]);
    mine.abort_code.store(static_cast<int32_t>(first.code()));
    uint32_t nobody = 0;
    segment_->header().aborted_by.compare_exchange_strong(
        nobody, static_cast<uint32_t>(rank_) + 1);
    is_dead_.store(true);
  }
  for (int r = 0; r < segment_->spec().world_size; ++r) {
    Ring(segment_->rank_state(r));
  }
  return first;
}

SegmentMember::WaitResult SegmentMember::Wait(
    int peer, const std::atomic<uint64_t>& counter, uint64_t value) {
  if (counter.load(std::memory_order_acquire) >= value) {
    return WaitResult::kReached;
  }
  const absl::Time start = Now();
  WaitResult result = SpinThenYield(start, peer, counter, value);
  if (result == WaitResult::kDeadline) result = Sleep(peer, counter, value);
  waited_ += Now() - start;
  return result;
}

// kDeadline: the time for spinning and yielding is over.
SegmentMember::WaitResult SegmentMember::SpinThenYield(
    absl::Time start, int peer, const std::atomic<uint64_t>& counter,
    uint64_t value) {
  const absl::Time spin_end = start + (spins_ ? kSpinTime : absl::Duration());
  absl::Time end = spin_end + (spins_ ? kYieldTime : kCrowdedYieldTime);
  if (num_waits_without_yield_ > 0) {
    --num_waits_without_yield_;
    end = spin_end;
  }
  end = std::min(end, deadline_);
  for (absl::Time now = start; now < end;) {
    const bool yields = now >= spin_end;
    if (yields) sched_yield();
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (counter.load(std::memory_order_acquire) >= value) {
        return WaitResult::kReached;
      }
      if (yields) break;
      Pause();
    }
    if (IsDead()) return WaitResult::kDead;
    const absl::Time before = std::exchange(now, Now());
    if (yields && now - before > kLongYield) {
      num_waits_without_yield_ = kWaitsAfterLongYield;
      break;
    }
  }
  return WaitResult::kDeadline;
}

SegmentMember::WaitResult SegmentMember::Sleep(
    int peer, const std::atomic<uint64_t>& counter, uint64_t value) {
  absl::Time next_liveness_check = Now() + kLivenessPeriod;
  for (;;) {
    // Gone and dead are read before the counter: what a peer published before
    // it went still counts.
    const bool is_dead = IsDead();
    const absl::Time now = Now();
    bool is_gone =
        segment_->rank_state(peer).presence.load() == Presence::kLeft;
    if (now >= next_liveness_check) {
      is_gone = is_gone || IsGone(peer);
      next_liveness_check = now + kLivenessPeriod;
    }
    if (counter.load() >= value) return WaitResult::kReached;
    if (is_dead) return WaitResult::kDead;
    if (is_gone) return WaitResult::kPeerGone;
    if (now >= deadline_) return WaitResult::kDeadline;
    SleepOnce(peer, counter, value, std::min(kLivenessPeriod, deadline_ - now));
  }
}

void SegmentMember::SleepOnce(int peer, const std::atomic<uint64_t>& counter,
                              uint64_t value, absl::Duration limit) {
  RankState& state = segment_->rank_state(peer);
  state.num_sleepers.fetch_add(1);
  const uint32_t bell = state.bell.load();
  if (counter.load() < value && !IsDead() &&
      state.presence.load() != Presence::kLeft) {
    FutexWait(state.bell, bell, limit);
  }
  state.num_sleepers.fetch_sub(1);
}

bool SegmentMember::IsDead() const {
  return is_dead_.load() || segment_->header().aborted_by.load() != 0;
}

bool SegmentMember::IsGone(int peer) const {
  return identities_[peer] != identities_[rank_] &&
         !IsRunning(identities_[peer]);
}

absl::Status SegmentMember::DeathReason() {
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
  }
  const uint32_t aborted_by = segment_->header().aborted_by.load();
  if (aborted_by == 0 ||
      aborted_by > static_cast<uint32_t>(segment_->spec().world_size)) {
    return absl::InternalError(
        absl::StrCat("the group's segment names rank ", aborted_by,
                     " - 1 as the one that ended the group"));
  }
  return ReasonOfPeer(static_cast<int>(aborted_by) - 1);
}

absl::Status SegmentMember::ReasonOfPeer(int peer) const {
  const RankState& state = segment_->rank_state(peer);
  std::string text;
  for (int64_t i = 0; i < kMaxReasonBytes; ++i) {
    const char c = state.abort_reason[i].load();
    if (c == '\0') break;
    text.push_back(absl::ascii_isprint(static_cast<unsigned char>(c)) ? c
                                                                      : '?');
  }
  // A deadline stays one, so that all ranks tell a frozen peer from a dead one.
  const bool is_deadline =
      state.abort_code.load() ==
      static_cast<int32_t>(absl::StatusCode::kDeadlineExceeded);
  return absl::Status(is_deadline ? absl::StatusCode::kDeadlineExceeded
                                  : absl::StatusCode::kUnavailable,
                      absl::StrCat("rank ", peer, " ended the group: ", text));
}

// `peer`, and those that have published fewer rounds than this rank.
std::vector<int> SegmentMember::RanksBehind(int peer) const {
  const uint64_t published = segment_->rank_state(rank_).published.load();
  std::vector<int> behind;
  for (int r = 0; r < segment_->spec().world_size; ++r) {
    if (r == peer || segment_->rank_state(r).published.load() < published) {
      behind.push_back(r);
    }
  }
  return behind;
}

absl::Status SegmentMember::WaitError(WaitResult result, int peer) {
  switch (result) {
    case WaitResult::kReached:
      return absl::OkStatus();
    case WaitResult::kDead:
      return DeathReason();
    case WaitResult::kPeerGone:
      return absl::UnavailableError(
          segment_->rank_state(peer).presence.load() == Presence::kLeft
              ? absl::StrCat("rank ", peer, " left the group")
              : absl::StrCat("process ", identities_[peer].pid, " of rank ",
                             peer, " has died"));
    case WaitResult::kDeadline:
      break;
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "rank ", rank_, " waited ", absl::FormatDuration(options_.timeout),
      " for rank ", absl::StrJoin(RanksBehind(peer), ", "), " in epoch ",
      segment_->spec().membership_epoch));
}

}  // namespace headwise
