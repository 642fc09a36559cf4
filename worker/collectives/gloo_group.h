// Groups whose ranks are processes anywhere, over TCP.

#ifndef HEADWISE_WORKER_COLLECTIVES_GLOO_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_GLOO_GROUP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/collectives/gloo_member.h"
#include "worker/collectives/gloo_transport.h"
#include "worker/collectives/group.h"

namespace headwise {

// Every collective is made of exchanges: all transfers of one exchange run at
// once, directly between the two ranks. all_reduce of w ranks, N bytes:
//   direct (w = 2, or N <= 32 KiB): every rank sends all its values to every
//     other; one exchange, (w - 1) N bytes sent by each rank.
//   scattered: every rank gets the shard that it adds, then sends the sums; two
//     exchanges, 2 (w - 1) / w N bytes sent by each rank.
// Each transfer has 4 bytes more, its checksum.
class GlooGroup final : public Group {
 public:
  // Requires that all connections of `transport` are made.
  GlooGroup(const GroupSpec& spec, std::shared_ptr<GlooTransport> transport);

  int rank() const override { return member_.spec().rank; }
  int world_size() const override { return member_.spec().world_size; }
  uint64_t membership_epoch() const override {
    return member_.spec().membership_epoch;
  }
  const char* kind() const override { return "gloo"; }

  absl::Status AllReduceSum(absl::Span<int64_t> values) override;
  absl::Status AllReduceSum(absl::Span<float> values) override;
  absl::Status AllGather(absl::Span<const uint8_t> mine,
                         absl::Span<uint8_t> all) override;
  absl::Status Broadcast(absl::Span<uint8_t> data, int root) override;
  absl::Status Send(absl::Span<const uint8_t> data, int to) override;
  absl::Status Receive(absl::Span<uint8_t> data, int from) override;
  void Abort(absl::Status reason) override;

  // Makes sure that every connection leads to the rank that it should: the
  // ports were open to everybody while the group formed.
  absl::Status Greet();

 private:
  enum class Call : uint8_t {
    kAllReduceInt64 = 1,
    kAllReduceFloat,
    kAllGather,
    kBroadcast,
    kPair,
  };
  // Gloo matches sends and receives by this number. Ranks that make different
  // calls do not match, which ends in DeadlineExceeded and not in wrong sums.
  static uint64_t Slot(Call call, uint64_t count, int64_t num_bytes) {
    return count << 44 | static_cast<uint64_t>(call) << 40 |
           (static_cast<uint64_t>(num_bytes) & ((uint64_t{1} << 40) - 1));
  }

  template <typename T>
  absl::Status AllReduce(absl::Span<T> values, Call call);
  template <typename T>
  absl::Status AllReduceDirect(absl::Span<T> values, uint64_t slot);
  template <typename T>
  absl::Status AllReduceScattered(absl::Span<T> values, Call call);
  // Sums what peers sent to scratch_, [world_size - 1, num_values], and ours.
  template <typename T>
  void SumScratch(int64_t num_values, T* mine);
  absl::Status Gather(absl::Span<const uint8_t> mine, absl::Span<uint8_t> all);
  absl::Status BroadcastFrom(absl::Span<uint8_t> data, int root);
  absl::Status SendTo(absl::Span<const uint8_t> data, int to);
  absl::Status ReceiveFrom(absl::Span<uint8_t> data, int from);

  // Every error is the end of the group.
  absl::Status Finish(absl::Status status);

  GlooMember member_;
  // Calling thread only.
  uint64_t num_exchanges_ = 0;
  std::vector<uint64_t> sent_;      // [world_size] calls of Send to each rank
  std::vector<uint64_t> received_;  // [world_size]
  std::vector<uint8_t> scratch_;    // what peers sent
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GLOO_GROUP_H_
