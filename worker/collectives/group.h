// Collectives among the ranks that serve one model together.

#ifndef HEADWISE_WORKER_COLLECTIVES_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_GROUP_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace headwise {

// One rank's end of a group. All ranks must make the same calls in the same
// order with the same sizes. Calls come from one thread at a time; only Abort
// may come from any thread.
//
// Every call ends within the group's timeout: DeadlineExceeded names the ranks
// that were waited for, Unavailable says why the group was aborted or that a
// peer's process is gone. After the first error the group is dead: every later
// call fails at once, and a new group is built under a new membership epoch.
class Group {
 public:
  virtual ~Group() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  virtual uint64_t membership_epoch() const = 0;
  // "in-process", "shared-memory", "gloo" or "nccl".
  virtual const char* kind() const = 0;

  // Replaces `values` by their sum over ranks, modulo 2^64. Integer addition is
  // associative, so the result does not depend on order or algorithm.
  virtual absl::Status AllReduceSum(absl::Span<int64_t> values) = 0;

  // AllReduceSum in two halves, so that a rank can compute while peers are
  // late: StartSum hands `values` in, FinishSum replaces them by the sum.
  // Between the two they must not change, and no other call may be made but a
  // second StartSum; kMaxStartedSums may be open, and they finish in their
  // order. A group that can't send early does it all in FinishSum.
  virtual absl::Status StartSum(absl::Span<int64_t> values);
  virtual absl::Status FinishSum(absl::Span<int64_t> values);

  // AllReduceSum of values in the memory of this rank's GPU; what writes them
  // must have ended. Unimplemented, and the group lives on, unless
  // sums_on_device(), which is equal on all ranks.
  virtual bool sums_on_device() const { return false; }
  virtual absl::Status SumOnDevice(int64_t* values, int64_t num_values);

  // The same as AllReduceSum for fp32 sums: equal on all ranks, but its bits
  // depend on world_size. Only --reduction=fast uses it.
  virtual absl::Status AllReduceSum(absl::Span<float> values) = 0;

  // all = mine of rank 0, mine of rank 1, ...; requires all.size() ==
  // world_size * mine.size().
  virtual absl::Status AllGather(absl::Span<const uint8_t> mine,
                                 absl::Span<uint8_t> all) = 0;

  virtual absl::Status Broadcast(absl::Span<uint8_t> data, int root) = 0;

  // Send may wait for the peer's Receive, so two ranks that send to each other
  // must agree who receives first.
  virtual absl::Status Send(absl::Span<const uint8_t> data, int to) = 0;
  virtual absl::Status Receive(absl::Span<uint8_t> data, int from) = 0;

  // Since the group began: how long calls have waited for peers that had not
  // come yet. Nothing if the transport can't tell that from its own time.
  virtual std::optional<absl::Duration> waited() const { return std::nullopt; }

  // Makes every present and later call of this rank fail with `reason`; peers
  // learn of it at once where the transport can tell them, else by timeout.
  virtual void Abort(absl::Status reason) = 0;
};

inline absl::Status Group::SumOnDevice(int64_t*, int64_t) {
  return absl::UnimplementedError("sums in a GPU's memory");
}
inline absl::Status Group::StartSum(absl::Span<int64_t>) {
  return absl::OkStatus();
}
inline absl::Status Group::FinishSum(absl::Span<int64_t> values) {
  return AllReduceSum(values);
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GROUP_H_
