#include "tests/support/fault_pipe.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace headwise {
namespace {

constexpr size_t kReadBytes = 16 << 10;
// What a throttled link may send at once after a pause.
constexpr absl::Duration kBurst = absl::Milliseconds(20);

// Also on a socket that is still connecting.
bool WouldBlock() {
  return errno == EAGAIN || errno == EINTR || errno == ENOTCONN;
}

}  // namespace

void FaultPipe::ForgetTo() {
  to_ = -1;
  queue_.clear();
  queued_bytes_ = 0;
}

absl::Duration FaultPipe::UntilDue(absl::Time now,
                                   const LinkFaults& faults) const {
  if (queue_.empty() || faults.is_blocked) return absl::InfiniteDuration();
  if (queue_.front().due > now) return queue_.front().due - now;
  return faults.bytes_per_second > 0 ? kBurst / 2 : absl::InfiniteDuration();
}

void FaultPipe::Read(const LinkFaults& faults, absl::Time now,
                     std::mt19937_64& random) {
  if (!WantsToRead()) return;
  std::string bytes(kReadBytes, '\0');
  const ssize_t count = read(from_, bytes.data(), bytes.size());
  if (count < 0 && WouldBlock()) return;
  if (count <= 0) {
    has_ended_ = true;
    return;
  }
  if (to_ < 0) return;
  bytes.resize(static_cast<size_t>(count));
  if (faults.flip_one_in > 0) {
    std::uniform_int_distribution<int64_t> one_in(1, faults.flip_one_in);
    for (char& byte : bytes) {
      if (one_in(random) == 1) byte ^= static_cast<char>(1 << random() % 8);
    }
  }
  std::uniform_real_distribution<double> share(0.0, 1.0);
  const absl::Duration held = faults.delay + faults.jitter * share(random);
  last_due_ = std::max(last_due_, now + held);
  queued_bytes_ += bytes.size();
  queue_.push_back({std::move(bytes), last_due_});
}

// Bytes that may be sent now.
double FaultPipe::Allowance(const LinkFaults& faults, absl::Time now) {
  if (faults.bytes_per_second <= 0) return std::numeric_limits<double>::max();
  const auto rate = static_cast<double>(faults.bytes_per_second);
  const double most = std::max(1.0, rate * absl::ToDoubleSeconds(kBurst));
  const double grown = budget_at_ == absl::InfinitePast()
                           ? most
                           : rate * absl::ToDoubleSeconds(now - budget_at_);
  budget_ = std::min(most, budget_ + grown);
  budget_at_ = now;
  return budget_;
}

int64_t FaultPipe::Write(const LinkFaults& faults, absl::Time now,
                         int64_t limit) {
  int64_t sent = 0;
  while (HasDue(now) && sent < limit) {
    std::string& bytes = queue_.front().bytes;
    const double allowed =
        std::min({Allowance(faults, now), static_cast<double>(bytes.size()),
                  static_cast<double>(limit - sent)});
    if (allowed < 1.0) break;
    const ssize_t count =
        send(to_, bytes.data(), static_cast<size_t>(allowed), MSG_NOSIGNAL);
    if (count < 0) {
      if (WouldBlock()) break;
      // The receiver is gone; what it has not read is lost, as on any link.
      queue_.clear();
      queued_bytes_ = 0;
      has_ended_ = true;
      break;
    }
    sent += count;
    budget_ -= static_cast<double>(count);
    queued_bytes_ -= static_cast<size_t>(count);
    if (static_cast<size_t>(count) < bytes.size()) {
      bytes.erase(0, static_cast<size_t>(count));
    } else {
      queue_.pop_front();
    }
  }
  return sent;
}

bool FaultPipe::IsOver() {
  if (!has_ended_ || !queue_.empty()) return false;
  if (to_ >= 0 && !is_shut_) shutdown(to_, SHUT_WR);
  is_shut_ = true;
  return true;
}

}  // namespace headwise
