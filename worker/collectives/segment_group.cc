#include "worker/collectives/segment_group.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/collectives/call_checks.h"
#include "worker/collectives/shard.h"
#include "worker/collectives/sum_parts.h"

namespace headwise {
namespace {

// Up to here a second round costs more than the bytes that it saves.
constexpr int64_t kMaxDirectBytes = int64_t{32} << 10;
// Above, a rank of a started sum would read its peers' bytes too often.
constexpr int kMaxRanksOfStartedSum = 4;

}  // namespace

SegmentGroup::SegmentGroup(std::shared_ptr<HostSegment> segment, int rank,
                           const char* kind, const GroupOptions& options)
    : member_(std::move(segment), rank, options), kind_(kind) {}

absl::Status SegmentGroup::AllReduceSum(absl::Span<int64_t> values) {
  return Finish(AllReduce(values, Call::kAllReduceInt64));
}

absl::Status SegmentGroup::AllReduceSum(absl::Span<float> values) {
  return Finish(AllReduce(values, Call::kAllReduceFloat));
}

absl::Status SegmentGroup::StartSum(absl::Span<int64_t> values) {
  if (!StartsEarly(values.size())) return absl::OkStatus();
  return Finish(SendSum(values));
}

absl::Status SegmentGroup::FinishSum(absl::Span<int64_t> values) {
  if (!StartsEarly(values.size())) return AllReduceSum(values);
  return Finish(AddSum(values));
}

absl::Status SegmentGroup::AllGather(absl::Span<const uint8_t> mine,
                                     absl::Span<uint8_t> all) {
  return Finish(GatherChunks(mine, all));
}

absl::Status SegmentGroup::Broadcast(absl::Span<uint8_t> data, int root) {
  return Finish(BroadcastChunks(data, root));
}

absl::Status SegmentGroup::Send(absl::Span<const uint8_t> data, int to) {
  return Finish(SendChunks(data, to));
}

absl::Status SegmentGroup::Receive(absl::Span<uint8_t> data, int from) {
  return Finish(ReceiveChunks(data, from));
}

void SegmentGroup::Abort(absl::Status reason) {
  if (reason.ok()) reason = absl::UnavailableError("the group was aborted");
  member_.Fail(std::move(reason)).IgnoreError();
}

uint64_t SegmentGroup::Tag(Call call, int root, int64_t num_bytes) {
  return static_cast<uint64_t>(call) << 56 | static_cast<uint64_t>(root) << 48 |
         static_cast<uint64_t>(num_bytes);
}

uint8_t* SegmentGroup::Slot(int rank, uint64_t round) const {
  return member_.segment().slot(rank, static_cast<int>(round % kNumSlots));
}

absl::Status SegmentGroup::Round(uint64_t tag) {
  const size_t slot = round_ % kNumSlots;
  RankState& mine = member_.segment().rank_state(rank());
  mine.tags[slot].store(tag, std::memory_order_relaxed);
  ++round_;
  member_.Publish(mine.published, round_);
  HEADWISE_RETURN_IF_ERROR(member_.WaitForAll(round_));
  for (int peer = 0; peer < world_size(); ++peer) {
    const uint64_t theirs = member_.segment().rank_state(peer).tags[slot].load(
        std::memory_order_relaxed);
    if (theirs != tag) {
      return absl::InternalError(absl::StrCat(
          "ranks make different calls: rank ", rank(), " has call ",
          absl::Hex(tag), ", rank ", peer, " ", absl::Hex(theirs),
          " (operation, root, bytes) in round ", round_));
    }
  }
  return absl::OkStatus();
}

bool SegmentGroup::StartsEarly(size_t num_values) const {
  return world_size() > 1 && world_size() <= kMaxRanksOfStartedSum &&
         static_cast<int64_t>(num_values * sizeof(int64_t)) <=
             spec().sum_slot_bytes;
}

absl::Status SegmentGroup::SendSum(absl::Span<const int64_t> values) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  if (num_started_sums_ - num_finished_sums_ >= kMaxStartedSums) {
    return absl::FailedPreconditionError(
        absl::StrCat(kMaxStartedSums, " started sums are open"));
  }
  RankState& mine = member_.segment().rank_state(rank());
  const int slot = static_cast<int>(num_started_sums_ % kNumSumSlots);
  const size_t num_bytes = values.size() * sizeof(int64_t);
  if (num_bytes > 0) {
    std::memcpy(member_.segment().sum_slot(rank(), slot), values.data(),
                num_bytes);
  }
  mine.sum_tags[slot].store(Tag(Call::kStartedSum, 0, num_bytes),
                            std::memory_order_relaxed);
  member_.Publish(mine.started_sums, ++num_started_sums_);
  return absl::OkStatus();
}

absl::Status SegmentGroup::AddSum(absl::Span<int64_t> values) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  if (num_started_sums_ == num_finished_sums_) {
    return absl::FailedPreconditionError("no started sum is open");
  }
  const int slot = static_cast<int>(num_finished_sums_ % kNumSumSlots);
  const uint64_t tag =
      Tag(Call::kStartedSum, 0, values.size() * sizeof(int64_t));
  absl::InlinedVector<const int64_t*, kMaxRanksOfStartedSum> parts;
  ++num_finished_sums_;
  for (int peer = 0; peer < world_size(); ++peer) {
    const RankState& theirs = member_.segment().rank_state(peer);
    if (peer == rank()) {
      parts.push_back(values.data());
      continue;
    }
    // We may have started one sum more than we finish here, and a peer that has
    // seen it may have started two more than that.
    HEADWISE_RETURN_IF_ERROR(member_.WaitFor(peer, theirs.started_sums,
                                             num_finished_sums_,
                                             /*max_ahead=*/3));
    const uint64_t found =
        theirs.sum_tags[slot].load(std::memory_order_relaxed);
    if (found != tag) {
      return absl::InternalError(
          absl::StrCat("rank ", rank(), " finishes call ", absl::Hex(tag),
                       ", rank ", peer, " started ", absl::Hex(found),
                       " (operation, bytes) as sum ", num_finished_sums_));
    }
    parts.push_back(reinterpret_cast<const int64_t*>(
        member_.segment().sum_slot(peer, slot)));
  }
  SumParts(parts, values.size(), values.data());
  return absl::OkStatus();
}

template <typename T>
absl::Status SegmentGroup::AllReduce(absl::Span<T> values, Call call) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  if (world_size() == 1) return absl::OkStatus();
  const int64_t num_bytes = values.size() * sizeof(T);
  const uint64_t tag = Tag(call, 0, num_bytes);
  if (world_size() == 2 || num_bytes <= kMaxDirectBytes) {
    return AllReduceDirect(values, tag);
  }
  return AllReduceScattered(values, tag);
}

template <typename T>
absl::Status SegmentGroup::AllReduceDirect(absl::Span<T> values, uint64_t tag) {
  constexpr size_t kChunk = kSlotBytes / sizeof(T);
  absl::InlinedVector<const T*, 16> parts(world_size());
  for (size_t begin = 0; begin < values.size(); begin += kChunk) {
    const absl::Span<T> chunk = values.subspan(begin, kChunk);
    const uint64_t round = round_;
    std::memcpy(Slot(rank(), round), chunk.data(), chunk.size() * sizeof(T));
    HEADWISE_RETURN_IF_ERROR(Round(tag));
    for (int r = 0; r < world_size(); ++r) {
      parts[r] = reinterpret_cast<const T*>(Slot(r, round));
    }
    SumParts(parts, chunk.size(), chunk.data());
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status SegmentGroup::AllReduceScattered(absl::Span<T> values,
                                              uint64_t tag) {
  constexpr size_t kChunk = kSlotBytes / sizeof(T);
  const size_t num_chunks = (values.size() + kChunk - 1) / kChunk;
  for (size_t c = 0; c <= num_chunks; ++c) {
    const uint64_t round = round_;
    absl::Span<T> chunk;
    if (c < num_chunks) {
      chunk = values.subspan(c * kChunk, kChunk);
      std::memcpy(Slot(rank(), round), chunk.data(), chunk.size() * sizeof(T));
    }
    HEADWISE_RETURN_IF_ERROR(Round(tag));
    if (c < num_chunks) SumShard<T>(chunk.size(), round);
    if (c > 0)
      CollectShards(values.subspan((c - 1) * kChunk, kChunk), round - 1);
  }
  return absl::OkStatus();
}

template <typename T>
void SegmentGroup::SumShard(int64_t num_values, uint64_t round) {
  const Shard shard = ShardOf<T>(rank(), world_size(), num_values);
  absl::InlinedVector<const T*, 16> parts(world_size());
  for (int r = 0; r < world_size(); ++r) {
    parts[r] = reinterpret_cast<const T*>(Slot(r, round)) + shard.begin;
  }
  SumParts(parts, shard.size(),
           reinterpret_cast<T*>(Slot(rank(), round)) + shard.begin);
}

template <typename T>
void SegmentGroup::CollectShards(absl::Span<T> values, uint64_t round) {
  for (int r = 0; r < world_size(); ++r) {
    const Shard shard = ShardOf<T>(r, world_size(), values.size());
    std::memcpy(values.data() + shard.begin,
                reinterpret_cast<const T*>(Slot(r, round)) + shard.begin,
                shard.size() * sizeof(T));
  }
}

absl::Status SegmentGroup::GatherChunks(absl::Span<const uint8_t> mine,
                                        absl::Span<uint8_t> all) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  HEADWISE_RETURN_IF_ERROR(CheckGather(*this, mine.size(), all.size()));
  const uint64_t tag = Tag(Call::kAllGather, 0, mine.size());
  for (size_t begin = 0; begin < mine.size(); begin += kSlotBytes) {
    const absl::Span<const uint8_t> chunk = mine.subspan(begin, kSlotBytes);
    const uint64_t round = round_;
    std::memcpy(Slot(rank(), round), chunk.data(), chunk.size());
    HEADWISE_RETURN_IF_ERROR(Round(tag));
    for (int r = 0; r < world_size(); ++r) {
      std::memcpy(all.data() + r * mine.size() + begin, Slot(r, round),
                  chunk.size());
    }
  }
  return absl::OkStatus();
}

absl::Status SegmentGroup::BroadcastChunks(absl::Span<uint8_t> data, int root) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  HEADWISE_RETURN_IF_ERROR(CheckRoot(*this, root));
  const uint64_t tag = Tag(Call::kBroadcast, root, data.size());
  for (size_t begin = 0; begin < data.size(); begin += kSlotBytes) {
    const absl::Span<uint8_t> chunk = data.subspan(begin, kSlotBytes);
    uint8_t* slot = Slot(root, round_);
    if (rank() == root) std::memcpy(slot, chunk.data(), chunk.size());
    HEADWISE_RETURN_IF_ERROR(Round(tag));
    if (rank() != root) std::memcpy(chunk.data(), slot, chunk.size());
  }
  return absl::OkStatus();
}

// Chunk n of a pair goes through pair slot n % 2 of the sender: it may be
// written once the receiver has taken chunk n - 2. At the end the receiver has
// taken all, so the slots are free for the next call, whoever it is for.
absl::Status SegmentGroup::SendChunks(absl::Span<const uint8_t> data, int to) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  HEADWISE_RETURN_IF_ERROR(CheckPeer(*this, "send to", to));
  RankState& mine = member_.segment().rank_state(rank());
  const std::atomic<uint64_t>& taken =
      member_.segment().rank_state(to).received[rank()];
  const uint64_t first = mine.sent[to].load(std::memory_order_relaxed);
  uint64_t n = first;
  for (size_t begin = 0; begin < data.size(); begin += kPairSlotBytes) {
    if (n >= first + kNumPairSlots) {
      HEADWISE_RETURN_IF_ERROR(
          member_.WaitFor(to, taken, n + 1 - kNumPairSlots));
    }
    const absl::Span<const uint8_t> chunk = data.subspan(begin, kPairSlotBytes);
    const size_t slot = n % kNumPairSlots;
    std::memcpy(member_.segment().pair_slot(rank(), slot), chunk.data(),
                chunk.size());
    mine.pair_tags[slot].store(Tag(Call::kPair, to, data.size()),
                               std::memory_order_relaxed);
    member_.Publish(mine.sent[to], ++n);
  }
  return n == first ? absl::OkStatus() : member_.WaitFor(to, taken, n);
}

absl::Status SegmentGroup::ReceiveChunks(absl::Span<uint8_t> data, int from) {
  HEADWISE_RETURN_IF_ERROR(member_.StartCall());
  HEADWISE_RETURN_IF_ERROR(CheckPeer(*this, "receive from", from));
  RankState& mine = member_.segment().rank_state(rank());
  const RankState& theirs = member_.segment().rank_state(from);
  const uint64_t tag = Tag(Call::kPair, rank(), data.size());
  uint64_t n = mine.received[from].load(std::memory_order_relaxed);
  for (size_t begin = 0; begin < data.size(); begin += kPairSlotBytes) {
    HEADWISE_RETURN_IF_ERROR(member_.WaitFor(from, theirs.sent[rank()], n + 1));
    const size_t slot = n % kNumPairSlots;
    const uint64_t found =
        theirs.pair_tags[slot].load(std::memory_order_relaxed);
    if (found != tag) {
      return absl::InternalError(
          absl::StrCat("rank ", rank(), " receives ", data.size(),
                       " bytes, call ", absl::Hex(tag), ", but rank ", from,
                       " sends call ", absl::Hex(found)));
    }
    const absl::Span<uint8_t> chunk = data.subspan(begin, kPairSlotBytes);
    std::memcpy(chunk.data(), member_.segment().pair_slot(from, slot),
                chunk.size());
    member_.Publish(mine.received[from], ++n);
  }
  return absl::OkStatus();
}

absl::Status SegmentGroup::Finish(absl::Status status) {
  return status.ok() ? status : member_.Fail(std::move(status));
}

}  // namespace headwise
