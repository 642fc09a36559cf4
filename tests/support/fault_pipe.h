// One direction of a connection that goes wrong on demand.

#ifndef HEADWISE_TESTS_SUPPORT_FAULT_PIPE_H_
#define HEADWISE_TESTS_SUPPORT_FAULT_PIPE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <string>

#include "absl/time/time.h"

namespace headwise {

// What becomes of bytes on their way.
struct LinkFaults {
  // Each piece is held back for `delay` and up to `jitter` more, at random; the
  // order stays.
  absl::Duration delay = absl::ZeroDuration();
  absl::Duration jitter = absl::ZeroDuration();
  int64_t bytes_per_second = 0;  // 0: no limit
  // Nothing passes and nothing is lost: to TCP the same as a link whose packets
  // all are, since it keeps what is not acknowledged and sends it again.
  bool is_blocked = false;
  int64_t flip_one_in = 0;  // one bit of so many bytes, at random; 0: none
};

// Moves bytes from one socket to another, both non-blocking and not owned. Not
// thread-safe. Holds back at most kMaxQueuedBytes and one read; what more comes
// waits with its sender, as on a real link.
class FaultPipe {
 public:
  static constexpr size_t kMaxQueuedBytes = 1 << 20;

  FaultPipe(int from, int to) : from_(from), to_(to) {}

  // The socket is closed: what comes for it is swallowed.
  void ForgetTo();
  void ForgetFrom() { from_ = -1; }

  bool WantsToRead() const {
    return from_ >= 0 && !has_ended_ && queued_bytes_ < kMaxQueuedBytes;
  }
  bool HasDue(absl::Time now) const {
    return !queue_.empty() && queue_.front().due <= now;
  }
  // How long it has nothing to do of itself; infinite: until bytes come.
  absl::Duration UntilDue(absl::Time now, const LinkFaults& faults) const;

  void Read(const LinkFaults& faults, absl::Time now, std::mt19937_64& random);
  // Sends what is due, at most `limit` bytes; the number of bytes.
  int64_t Write(const LinkFaults& faults, absl::Time now, int64_t limit);
  // Nothing more will pass; the receiver has been told.
  bool IsOver();

 private:
  struct Piece {
    std::string bytes;
    absl::Time due;
  };

  double Allowance(const LinkFaults& faults, absl::Time now);

  int from_;  // -1: gone
  int to_;
  std::deque<Piece> queue_;
  size_t queued_bytes_ = 0;
  double budget_ = 0.0;  // bytes that a throttled link may send now
  absl::Time budget_at_ = absl::InfinitePast();
  absl::Time last_due_ = absl::InfinitePast();
  bool has_ended_ = false;  // `from` sends no more
  bool is_shut_ = false;    // and `to` has been told
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_FAULT_PIPE_H_
