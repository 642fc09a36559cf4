// The memory through which the ranks of one host talk.
//
//   SegmentHeader | RankState of each rank | slots of each rank |
//   pair slots of each rank | sum slots of each rank
//
// A rank writes only to its own RankState and slots and reads those of others.
// Peers may be stale or hostile: everything that decides an address comes from
// constants and from the SegmentSpec that this process was told, never from the
// segment.

#ifndef HEADWISE_WORKER_COLLECTIVES_HOST_SEGMENT_H_
#define HEADWISE_WORKER_COLLECTIVES_HOST_SEGMENT_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/collectives/group_options.h"
#include "worker/collectives/process_identity.h"

namespace headwise {

inline constexpr int kNumSlots = 3;
inline constexpr int64_t kSlotBytes = int64_t{128} << 10;
inline constexpr int kNumPairSlots = 2;
inline constexpr int64_t kPairSlotBytes = int64_t{64} << 10;
inline constexpr int kNumSumSlots = 4;
inline constexpr int64_t kMaxReasonBytes = 256;

struct alignas(64) SegmentHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t world_size;
  uint64_t membership_epoch;
  uint64_t nonce;  // random, told in the endpoint: names this one attempt
  uint64_t sum_slot_bytes;
  // 0, or 1 + the rank that declared the group dead first.
  alignas(64) std::atomic<uint32_t> aborted_by;
};

enum class Presence : uint32_t { kAbsent = 0, kJoined = 1, kLeft = 2 };

struct alignas(64) RankState {
  // Hot line: number of rounds published, and what each slot holds.
  std::atomic<uint64_t> published;
  std::array<std::atomic<uint64_t>, kNumSlots> tags;

  // The same for started sums.
  alignas(64) std::atomic<uint64_t> started_sums;
  std::array<std::atomic<uint64_t>, kNumSumSlots> sum_tags;

  // Peers asleep until this rank publishes; the futex word they sleep on.
  alignas(64) std::atomic<uint32_t> num_sleepers;
  std::atomic<uint32_t> bell;

  alignas(64) std::atomic<Presence> presence;
  std::atomic<int64_t> pid;
  std::atomic<uint64_t> start_time;
  std::atomic<int32_t> abort_code;  // absl::StatusCode
  std::array<std::atomic<char>, kMaxReasonBytes> abort_reason;

  // Chunks sent to and received from each peer, and what the pair slots hold.
  alignas(64) std::array<std::atomic<uint64_t>, kNumPairSlots> pair_tags;
  std::array<std::atomic<uint64_t>, kMaxWorldSize> sent;
  std::array<std::atomic<uint64_t>, kMaxWorldSize> received;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(std::atomic<Presence>::is_always_lock_free);
static_assert(sizeof(SegmentHeader) == 128);
static_assert(sizeof(RankState) % 64 == 0);

// What all ranks must agree on before they share a segment.
struct SegmentSpec {
  int world_size = 1;
  uint64_t membership_epoch = 0;
  uint64_t nonce = 0;
  int64_t sum_slot_bytes = 0;  // a multiple of 64
};

// Owns the mapping. Thread-safe; what is in the memory has its own rules.
class HostSegment {
 public:
  // Shared by the threads of this process only.
  static absl::StatusOr<std::shared_ptr<HostSegment>> CreateInProcess(
      const SegmentSpec& spec);

  // Anonymous memory that has no name in any file system, so that nothing is
  // left when its processes are killed; peers map it through /proc/<pid>/fd.
  // Sealed, so that no peer can shrink it under us (SIGBUS).
  static absl::StatusOr<std::shared_ptr<HostSegment>> CreateShared(
      const SegmentSpec& spec);

  // Maps the segment that `owner` created as its file `descriptor`.
  // FailedPrecondition if it is not a sealed segment made for `spec`.
  static absl::StatusOr<std::shared_ptr<HostSegment>> OpenShared(
      const ProcessIdentity& owner, int descriptor, const SegmentSpec& spec);

  ~HostSegment();
  HostSegment(const HostSegment&) = delete;
  HostSegment& operator=(const HostSegment&) = delete;

  // Of the creator, for OpenShared; -1 elsewhere and after Hide.
  int descriptor() const { return descriptor_; }
  // Closes the descriptor once all have mapped the memory.
  void Hide();

  // Marks `rank` as this process. FailedPrecondition if it was taken before.
  absl::Status Claim(int rank, const ProcessIdentity& self);

  const SegmentSpec& spec() const { return spec_; }
  SegmentHeader& header() const;
  // Require 0 <= rank < world_size and 0 <= slot < kNumSlots, kNumPairSlots,
  // kNumSumSlots.
  RankState& rank_state(int rank) const;
  uint8_t* slot(int rank, int slot) const;       // kSlotBytes
  uint8_t* pair_slot(int rank, int slot) const;  // kPairSlotBytes
  uint8_t* sum_slot(int rank, int slot) const;   // spec().sum_slot_bytes

 private:
  HostSegment(const SegmentSpec& spec, int descriptor, uint8_t* base)
      : spec_(spec), descriptor_(descriptor), base_(base) {}
  static absl::StatusOr<std::shared_ptr<HostSegment>> Map(
      const SegmentSpec& spec, int descriptor);
  void WriteHeader();
  absl::Status CheckHeader() const;

  const SegmentSpec spec_;
  int descriptor_;
  uint8_t* const base_;  // [segment bytes]
};

// `options.started_sum_bytes`, within its limit, as whole cache lines.
int64_t SumSlotBytes(const GroupOptions& options);

// Bytes of the segment of such a group.
int64_t SegmentBytes(const SegmentSpec& spec);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_HOST_SEGMENT_H_
