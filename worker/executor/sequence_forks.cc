// Sequences that begin as others did.

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "worker/executor/sequences.h"

namespace headwise {

absl::Status Sequences::MakeForks(const std::vector<Fork>& forks) {
  for (size_t i = 0; i < forks.size(); ++i) {
    const absl::Status status = MakeFork(forks[i]);
    if (status.ok()) continue;
    for (size_t made = 0; made < i; ++made) Free(forks[made].sequence_id);
    return status;
  }
  return absl::OkStatus();
}

absl::Status Sequences::MakeFork(const Fork& fork) {
  if (book_.Contains(fork.sequence_id)) {
    return Refuse(fork.sequence_id, "a fork under an id that is taken");
  }
  if (!book_.Contains(fork.from_sequence_id)) {
    return Refuse(fork.sequence_id, "a fork of ", fork.from_sequence_id,
                  ", which is not here");
  }
  const int64_t stored = book_.Length(fork.from_sequence_id);
  if (fork.length < 1 || fork.length > stored) {
    return Refuse(fork.sequence_id, "a fork at ", fork.length, " of ", stored,
                  " positions");
  }
  if (options_.titans && options_.titans->has_memory() &&
      fork.length != stored) {
    return absl::FailedPreconditionError(absl::StrCat(
        "sequence ", fork.sequence_id, ": a fork at ", fork.length, " of ",
        stored, " positions, but a neural memory is known at its end only"));
  }
  const PlanPointer plan = FindPlan(fork.plan_id);
  if (fork.plan_id != 0 && plan == nullptr) {
    return Refuse(fork.sequence_id, "plan ", fork.plan_id, " is not here");
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<BlockCopy> copies,
      book_.Fork(fork.sequence_id, fork.from_sequence_id, fork.length,
                 StorageUnder(plan), PromptLenOf(fork.prompt_len)));
  // The map may move what it holds.
  Sequence forked;
  forked.kv = OpenKv(plan, fork.prompt_len);
  const Sequence& source = sequences_[fork.from_sequence_id];
  forked.tokens = source.tokens.Prefix(fork.length);
  ShareSummaries(source.kv, fork.length, &forked.kv);
  forked.kv.memories = source.kv.memories;
  const std::vector<UnitStorage>& units = book_.Units(fork.sequence_id);
  sequences_[fork.sequence_id] = std::move(forked);
  UpdateTables(fork.sequence_id, 0);
  for (const BlockCopy& copy : copies) {
    stores_[units[copy.unit].block_class].Copy(copy.to, copy.from);
  }
  return absl::OkStatus();
}

// What a policy remembers beside its blocks, as of `length`.
void Sequences::ShareSummaries(const SequenceKv& source, int64_t length,
                               SequenceKv* fork) const {
  for (size_t i = 0; i < fork->units.size(); ++i) {
    const UnitKv& from = source.units[i];
    UnitKv& to = fork->units[i];
    for (CalibratedHead& head : to.calibrated) {
      head.search = SinkSearch(length);
      const int64_t voters = std::min(length, source.prompt_len);
      if (fork->prompt_len != source.prompt_len) continue;
      for (const CalibratedHead& before : from.calibrated) {
        if (before.head != head.head ||
            before.sink_threshold != head.sink_threshold ||
            before.search.next_query() != voters) {
          continue;
        }
        head.search = before.search;
        head.sinks = before.sinks;
      }
    }
    if (to.policy.kind == PolicyKind::kRazor && from.policy == to.policy &&
        fork->prompt_len == source.prompt_len) {
      to.folded_end = from.folded_end;
      to.folded_sum = from.folded_sum;
    }
    if (to.policy.kind == PolicyKind::kQuest && from.policy == to.policy) {
      const auto size = static_cast<size_t>(length / kKvBlockPositions * 2 *
                                            options_.head_dim);
      to.page_bounds.assign(
          from.page_bounds.begin(),
          from.page_bounds.begin() + static_cast<int64_t>(size));
    }
    if (to.policy.kind == PolicyKind::kLongHeads) {
      to.num_chunk_keys = length / to.policy.chunk_len;
      to.open_queries = from.open_queries;
      to.chunk_keys = from.chunk_keys;
      const auto num_blocks = static_cast<size_t>(
          (to.num_chunk_keys + kKvBlockPositions - 1) / kKvBlockPositions);
      for (ChunkKeys& keys : to.chunk_keys) {
        // Of a shorter fork, not those of later chunks.
        keys.storage.resize(num_blocks);
        keys.blocks.resize(num_blocks);
        if (keys.storage.empty()) continue;
        // The last block may still grow, here and there.
        auto copy = std::make_shared<AlignedBuffer<uint8_t>>(
            keys.storage.back()->capacity());
        std::memcpy(copy->data(), keys.storage.back()->data(),
                    static_cast<size_t>(copy->capacity()));
        keys.storage.back() = std::move(copy);
        keys.blocks.back() = keys.storage.back()->data();
      }
    }
  }
}

}  // namespace headwise
