// A group whose ranks share memory: threads of a process or processes of a
// host.
//
// Collectives proceed in rounds, the same on all ranks. In round k a rank
//   1. may write its slot k % 3,
//   2. publishes that it has reached round k (one release store),
//   3. waits until all ranks have published round k,
//   4. may read all slots of round k, and those of round k - 1.
// One synchronization per round is enough: the slot that round k writes was
// last written in round k - 3 and last read in step 4 of round k - 2. A rank
// that has passed step 3 of round k - 1 knows that all ranks have published
// round k - 1, so all have finished step 4 of round k - 2, before it writes in
// round k. (Without reads of round k - 1 two slots would do.)
//
// all_reduce of w ranks, N bytes, in chunks of a slot:
//   direct (w = 2, or N <= 32 KiB): one round per chunk, every rank adds all
//     slots; each rank reads (w - 1) N bytes from others.
//   scattered: in round c every rank writes chunk c and then adds, in place,
//   its
//     shard of chunk c over all slots; after round c + 1 it collects the shards
//     of chunk c. One round per chunk and one more; each rank reads
//     2 (w - 1) / w N bytes from others.
// Both add in rank order, so float sums are equal on all ranks.
//
// Started sums have slots and a counter of their own, so that one lies in the
// segment while the rank computes. Sum k goes through sum slot k % 4: its start
// follows the end of sum k - 2, for which every peer had started sum k - 2 and
// so had ended sum k - 4, the slot's last use.
//
// Send and Receive have counters and slots of their own for each pair of ranks.
// A sender returns when the receiver has taken all bytes.

#ifndef HEADWISE_WORKER_COLLECTIVES_SEGMENT_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_SEGMENT_GROUP_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/collectives/group.h"
#include "worker/collectives/group_options.h"
#include "worker/collectives/host_segment.h"
#include "worker/collectives/segment_member.h"

namespace headwise {

class SegmentGroup final : public Group {
 public:
  // Requires that all ranks have claimed their place in `segment`. `kind` must
  // be a literal.
  SegmentGroup(std::shared_ptr<HostSegment> segment, int rank, const char* kind,
               const GroupOptions& options);

  int rank() const override { return member_.rank(); }
  int world_size() const override { return spec().world_size; }
  uint64_t membership_epoch() const override { return spec().membership_epoch; }
  const char* kind() const override { return kind_; }

  absl::Status AllReduceSum(absl::Span<int64_t> values) override;
  absl::Status AllReduceSum(absl::Span<float> values) override;
  absl::Status StartSum(absl::Span<int64_t> values) override;
  absl::Status FinishSum(absl::Span<int64_t> values) override;
  absl::Status AllGather(absl::Span<const uint8_t> mine,
                         absl::Span<uint8_t> all) override;
  absl::Status Broadcast(absl::Span<uint8_t> data, int root) override;
  absl::Status Send(absl::Span<const uint8_t> data, int to) override;
  absl::Status Receive(absl::Span<uint8_t> data, int from) override;
  void Abort(absl::Status reason) override;
  std::optional<absl::Duration> waited() const override {
    return member_.waited();
  }

 private:
  // What a rank puts beside its slot, so that a peer that makes another call is
  // an error and not a wrong sum.
  enum class Call : uint8_t {
    kAllReduceInt64 = 1,
    kAllReduceFloat,
    kAllGather,
    kBroadcast,
    kPair,
    kStartedSum,
  };
  static uint64_t Tag(Call call, int root, int64_t num_bytes);

  const SegmentSpec& spec() const { return member_.segment().spec(); }
  uint8_t* Slot(int rank, uint64_t round) const;
  // Runs one round with what was written to Slot(rank(), round_) before.
  absl::Status Round(uint64_t tag);

  // The same answer on all ranks.
  bool StartsEarly(size_t num_values) const;
  absl::Status SendSum(absl::Span<const int64_t> values);
  absl::Status AddSum(absl::Span<int64_t> values);
  template <typename T>
  absl::Status AllReduce(absl::Span<T> values, Call call);
  template <typename T>
  absl::Status AllReduceDirect(absl::Span<T> values, uint64_t tag);
  template <typename T>
  absl::Status AllReduceScattered(absl::Span<T> values, uint64_t tag);
  template <typename T>
  void SumShard(int64_t num_values, uint64_t round);
  template <typename T>
  void CollectShards(absl::Span<T> values, uint64_t round);
  absl::Status GatherChunks(absl::Span<const uint8_t> mine,
                            absl::Span<uint8_t> all);
  absl::Status BroadcastChunks(absl::Span<uint8_t> data, int root);
  absl::Status SendChunks(absl::Span<const uint8_t> data, int to);
  absl::Status ReceiveChunks(absl::Span<uint8_t> data, int from);
  // Every error is the end of the group.
  absl::Status Finish(absl::Status status);

  SegmentMember member_;
  const char* const kind_;
  // Calling thread only.
  uint64_t round_ = 0;  // next round
  uint64_t num_started_sums_ = 0;
  uint64_t num_finished_sums_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_SEGMENT_GROUP_H_
