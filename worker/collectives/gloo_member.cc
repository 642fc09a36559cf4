#include "worker/collectives/gloo_member.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/crc32c.h"

namespace headwise {
namespace {

absl::Time Now() { return Clock::Monotonic().Now(); }

constexpr int64_t kChecksumBytes = sizeof(uint32_t);
// Copied and summed up while it lies in the nearest cache.
constexpr int64_t kCopyBytes = 8 << 10;

// Returns the CRC-32C of what it copies.
uint32_t CopyAndSum(const uint8_t* from, int64_t num_bytes, uint8_t* to) {
  uint32_t sum = 0;
  for (int64_t begin = 0; begin < num_bytes; begin += kCopyBytes) {
    const auto size =
        static_cast<size_t>(std::min(kCopyBytes, num_bytes - begin));
    std::memcpy(to + begin, from + begin, size);
    sum = Crc32c({to + begin, size}, sum);
  }
  return sum;
}

}  // namespace

GlooMember::GlooMember(const GroupSpec& spec,
                       std::shared_ptr<GlooTransport> transport)
    : spec_(spec), transport_(std::move(transport)) {}

absl::Status GlooMember::StartCall() {
  deadline_ = Now() + spec_.options.timeout;
  absl::MutexLock lock(&mutex_);
  return failure_;
}

absl::Status GlooMember::Exchange(absl::Span<const Transfer> transfers,
                                  uint64_t slot) {
  int64_t wire_bytes = 0;
  for (const Transfer& transfer : transfers) {
    wire_bytes += transfer.num_bytes + kChecksumBytes;
  }
  if (wire_.size() < static_cast<size_t>(wire_bytes)) wire_.resize(wire_bytes);
  uint8_t* wire = wire_.data();
  // A deque: waits() holds pointers into it.
  std::deque<Posted> posted;
  absl::Status status;
  // Receives first, so that no sender has to wait for ours.
  for (const bool receives : {true, false}) {
    for (const Transfer& transfer : transfers) {
      if ((transfer.receive != nullptr) != receives) continue;
      if (status.ok()) status = Post(transfer, slot, wire, posted);
      wire += transfer.num_bytes + kChecksumBytes;
    }
  }
  for (size_t i = 0; i < posted.size() && status.ok(); ++i) {
    status = Await(posted, i);
    if (status.ok()) status = TakeReceived(posted[i]);
  }
  // Wakers must not see a buffer that is about to go.
  for (size_t i = 0; i < posted.size(); ++i) transport_->waits().RemoveLast();
  return status;
}

absl::Status GlooMember::TakeReceived(const Posted& posted) const {
  if (!posted.is_receive) return absl::OkStatus();
  const Transfer& transfer = *posted.transfer;
  const uint32_t sum =
      CopyAndSum(posted.wire, transfer.num_bytes, transfer.receive);
  uint32_t said = 0;
  std::memcpy(&said, posted.wire + transfer.num_bytes, sizeof(said));
  if (sum == said) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "what rank ", posted.peer, " sent changed on its way to rank ",
      spec_.rank, ": its checksum is ", said, ", its bytes have ", sum));
}

absl::Status GlooMember::Post(const Transfer& transfer, uint64_t slot,
                              uint8_t* wire, std::deque<Posted>& posted) {
  if (transfer.num_bytes == 0) return absl::OkStatus();
  const bool is_receive = transfer.receive != nullptr;
  if (!is_receive) {
    const uint32_t sum = CopyAndSum(transfer.send, transfer.num_bytes, wire);
    std::memcpy(wire + transfer.num_bytes, &sum, sizeof(sum));
  }
  try {
    posted.push_back({transfer.peer, is_receive,
                      transport_->createUnboundBuffer(
                          wire, transfer.num_bytes + kChecksumBytes),
                      &transfer, wire});
    Posted& last = posted.back();
    transport_->waits().Add(last.peer, last.buffer.get());
    if (is_receive) {
      last.buffer->recv(transfer.peer, slot);
    } else {
      last.buffer->send(transfer.peer, slot);
    }
  } catch (const std::exception& error) {
    return ErrorOf(error.what(), posted, posted.size() - 1);
  }
  return absl::OkStatus();
}

absl::Status GlooMember::Await(std::deque<Posted>& posted, size_t index) {
  Posted& transfer = posted[index];
  const auto timeout = std::max(absl::ToChronoMilliseconds(deadline_ - Now()),
                                std::chrono::milliseconds(0)) +
                       std::chrono::milliseconds(1);
  try {
    const bool was_undisturbed =
        transfer.is_receive ? transfer.buffer->waitRecv(nullptr, timeout)
                            : transfer.buffer->waitSend(nullptr, timeout);
    // The peer may have closed after it had finished its part.
    if (was_undisturbed || IsDone(transfer)) return absl::OkStatus();
    return ErrorOf("the connection was closed", posted, index);
  } catch (const std::exception& error) {
    return ErrorOf(error.what(), posted, index);
  }
}

// Gloo closes all connections on a wait that times out, also one of 0 ms: for
// use only when the call has failed unless `posted` is done.
bool GlooMember::IsDone(Posted& posted) {
  const auto no_time = std::chrono::milliseconds(0);
  try {
    // The first wait may only take notice of an earlier disturbance.
    return posted.is_receive ? posted.buffer->waitRecv(nullptr, no_time) ||
                                   posted.buffer->waitRecv(nullptr, no_time)
                             : posted.buffer->waitSend(nullptr, no_time) ||
                                   posted.buffer->waitSend(nullptr, no_time);
  } catch (const std::exception&) {
    return false;
  }
}

absl::Status GlooMember::ErrorOf(absl::string_view what,
                                 std::deque<Posted>& posted, size_t index) {
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
  }
  if (Now() < deadline_) {
    return absl::UnavailableError(
        absl::StrCat("rank ", posted[index].peer, " is not reachable: ", what));
  }
  std::vector<int> behind;
  for (size_t i = index; i < posted.size(); ++i) {
    const int peer = posted[i].peer;
    if (i > index && IsDone(posted[i])) continue;
    if (std::find(behind.begin(), behind.end(), peer) == behind.end()) {
      behind.push_back(peer);
    }
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "rank ", spec_.rank, " waited ",
      absl::FormatDuration(spec_.options.timeout), " for rank ",
      absl::StrJoin(behind, ", "), " in epoch ", spec_.membership_epoch));
}

absl::Status GlooMember::Fail(absl::Status reason) {
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    failure_ = reason;
  }
  transport_->waits().Interrupt();
  transport_->CloseAll(std::string(reason.message()));
  return reason;
}

}  // namespace headwise
