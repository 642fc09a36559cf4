#include "worker/cache/kv_book.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/head_plan/context_ranges.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

static_assert(kKvBlockPositions == kRetentionBlock);

int64_t BlocksFor(int64_t positions) {
  return (positions + kKvBlockPositions - 1) / kKvBlockPositions;
}

// Blocks [begin, end) of a unit that this rank holds.
int64_t CountHeld(const UnitStorage& unit, int64_t begin, int64_t end) {
  if (unit.held_ranges.empty()) return end - begin;
  int64_t count = 0;
  for (int64_t block = begin; block < end; ++block) {
    count += unit.Holds(block) ? 1 : 0;
  }
  return count;
}

// Whether what a unit remembers beside its blocks is known at any length, or
// only at the one that it has.
bool RemembersOnlyItsEnd(const UnitPolicy& policy, int64_t length) {
  return policy.kind == PolicyKind::kLongHeads &&
         length % policy.chunk_len != 0;
}

}  // namespace

bool UnitStorage::Holds(int64_t block) const {
  if (held_ranges.empty()) return true;
  const int64_t range = RangeIndex(block * kKvBlockPositions);
  return held_ranges[range % static_cast<int64_t>(held_ranges.size())];
}

KvBook::KvBook(const KvBookOptions& options)
    : options_(options), pools_(options.class_bytes.size()) {
  HEADWISE_CHECK(options.num_units >= 0 && options.capacity_bytes >= 0);
}

bool KvBook::Contains(uint64_t sequence_id) const {
  return sequences_.contains(sequence_id);
}

int64_t KvBook::Length(uint64_t sequence_id) const {
  const auto it = sequences_.find(sequence_id);
  return it == sequences_.end() ? 0 : it->second.length;
}

void KvBook::Open(uint64_t sequence_id, std::vector<UnitStorage> units,
                  int64_t prompt_len) {
  const auto num_units = static_cast<size_t>(options_.num_units);
  HEADWISE_CHECK(units.size() == num_units && !Contains(sequence_id));
  Sequence& sequence = sequences_[sequence_id];
  sequence.prompt_len = prompt_len;
  sequence.units = std::move(units);
  sequence.tables.resize(num_units);
  sequence.trimmed.resize(num_units);
  // What a unit needs before its first position.
  used_bytes_ += ExtraBytes(sequence, 0);
}

int64_t KvBook::ExtraBytes(const Sequence& sequence, int64_t length) const {
  int64_t bytes = 0;
  for (const UnitStorage& unit : sequence.units) {
    bytes += ExtraBytesHeld(unit.policy, length, options_.head_dim,
                            options_.heads_per_kv_head) +
             options_.unit_state_bytes;
  }
  return bytes;
}

int64_t KvBook::GrowthBytes(const Sequence& sequence,
                            int64_t num_positions) const {
  const int64_t length = sequence.length + num_positions;
  const int64_t begin = BlocksFor(sequence.length);
  const int64_t end = BlocksFor(length);
  int64_t bytes =
      ExtraBytes(sequence, length) - ExtraBytes(sequence, sequence.length);
  for (const UnitStorage& unit : sequence.units) {
    bytes +=
        CountHeld(unit, begin, end) * options_.class_bytes[unit.block_class];
  }
  return bytes;
}

int64_t KvBook::BytesNeeded(uint64_t sequence_id, int64_t num_positions) const {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end());
  return GrowthBytes(it->second, num_positions);
}

int64_t KvBook::MaxBytesNeeded(uint64_t sequence_id,
                               int64_t num_positions) const {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end());
  const Sequence& sequence = it->second;
  const int64_t length = sequence.length + num_positions;
  int64_t bytes =
      ExtraBytes(sequence, length) - ExtraBytes(sequence, sequence.length);
  for (const UnitStorage& unit : sequence.units) {
    int64_t blocks =
        CountHeld(unit, BlocksFor(sequence.length), BlocksFor(length));
    if (unit.held_ranges.empty()) {
      // Dropping a block that another sequence holds too makes no room.
      const int64_t held =
          sequence.shares_blocks
              ? 0
              : BlocksHeld(unit.policy, sequence.length, sequence.prompt_len);
      const int64_t most =
          MaxBlocksHeld(unit.policy, length, sequence.prompt_len);
      blocks = std::clamp<int64_t>(most - held, 0, blocks);
    }
    bytes += blocks * options_.class_bytes[unit.block_class];
  }
  return bytes;
}

int64_t KvBook::MaxBytesOfNew(const std::vector<UnitStorage>& units,
                              int64_t prompt_len, int64_t num_positions) const {
  int64_t bytes = 0;
  for (const UnitStorage& unit : units) {
    const int64_t blocks =
        unit.held_ranges.empty()
            ? MaxBlocksHeld(unit.policy, num_positions, prompt_len)
            : CountHeld(unit, 0, BlocksFor(num_positions));
    bytes += blocks * options_.class_bytes[unit.block_class] +
             ExtraBytesHeld(unit.policy, num_positions, options_.head_dim,
                            options_.heads_per_kv_head) +
             options_.unit_state_bytes;
  }
  return bytes;
}

absl::Status KvBook::Append(uint64_t sequence_id, int64_t num_positions) {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end());
  Sequence& sequence = it->second;
  const int64_t needed = GrowthBytes(sequence, num_positions);
  if (needed > options_.capacity_bytes - used_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("sequence ", sequence_id, " needs ", needed,
                     " bytes of KV, ", options_.capacity_bytes - used_bytes_,
                     " of ", options_.capacity_bytes, " are free"));
  }
  const int64_t extra = ExtraBytes(sequence, sequence.length + num_positions) -
                        ExtraBytes(sequence, sequence.length);
  sequence.length += num_positions;
  used_bytes_ += extra;
  const auto count = static_cast<size_t>(BlocksFor(sequence.length));
  for (size_t unit = 0; unit < sequence.tables.size(); ++unit) {
    std::vector<int32_t>& table = sequence.tables[unit];
    const UnitStorage& storage = sequence.units[unit];
    while (table.size() < count) {
      const bool held = storage.Holds(static_cast<int64_t>(table.size()));
      table.push_back(held ? TakeBlock(storage.block_class) : kDropped);
    }
  }
  return absl::OkStatus();
}

void KvBook::Trim(uint64_t sequence_id) {
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) return;
  Sequence& sequence = it->second;
  for (size_t unit = 0; unit < sequence.tables.size(); ++unit) {
    const UnitStorage& storage = sequence.units[unit];
    const KeptSpans kept =
        KeptOf(storage.policy, sequence.length, sequence.prompt_len);
    if (kept.kept_begin <= kept.sinks_end) continue;
    std::vector<int32_t>& table = sequence.tables[unit];
    int64_t& next = sequence.trimmed[unit];
    for (; (next + 1) * kKvBlockPositions <= kept.kept_begin; ++next) {
      if (IsBlockKept(kept, next) || table[next] == kDropped) continue;
      DropBlock(storage.block_class, table[next]);
      table[next] = kDropped;
    }
  }
}

absl::Status KvBook::CheckFork(const Sequence& source,
                               const Sequence& fork) const {
  for (size_t unit = 0; unit < fork.units.size(); ++unit) {
    const auto error = [unit](auto... parts) {
      return absl::FailedPreconditionError(
          absl::StrCat("fork: unit ", unit, " of the rank ", parts...));
    };
    const UnitStorage& from = source.units[unit];
    const UnitStorage& to = fork.units[unit];
    if (from.block_class != to.block_class ||
        !CanTakeOver(from.policy, to.policy) ||
        from.held_ranges != to.held_ranges) {
      return error("is stored otherwise under the new plan");
    }
    if (fork.length != source.length &&
        RemembersOnlyItsEnd(to.policy, fork.length)) {
      return error("can be forked at whole chunks of ", to.policy.chunk_len,
                   " only, not at ", fork.length);
    }
    const bool continues = to.policy == from.policy &&
                           fork.length == source.length &&
                           fork.prompt_len == source.prompt_len;
    const KeptSpans needed =
        NeededByFork(to.policy, fork.length, fork.prompt_len, continues);
    for (int64_t b = 0; b < BlocksFor(fork.length); ++b) {
      if (source.tables[unit][b] != kDropped || !to.Holds(b)) continue;
      if (!IsBlockKept(needed, b)) continue;
      return error("has dropped positions from ", b * kKvBlockPositions,
                   " on, which the fork needs");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BlockCopy>> KvBook::Fork(
    uint64_t sequence_id, uint64_t from_sequence_id, int64_t length,
    std::vector<UnitStorage> units, int64_t prompt_len) {
  const auto it = sequences_.find(from_sequence_id);
  HEADWISE_CHECK(it != sequences_.end() && !Contains(sequence_id));
  HEADWISE_CHECK(0 <= length && length <= it->second.length);
  Sequence fork;
  fork.length = length;
  fork.prompt_len = prompt_len;
  fork.units = std::move(units);
  HEADWISE_RETURN_IF_ERROR(CheckFork(it->second, fork));
  const int64_t whole = length / kKvBlockPositions;
  int64_t needed = ExtraBytes(fork, length);
  if (length % kKvBlockPositions != 0) {
    for (const UnitStorage& unit : fork.units) {
      if (unit.Holds(whole)) needed += options_.class_bytes[unit.block_class];
    }
  }
  if (needed > options_.capacity_bytes - used_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a fork of sequence ", from_sequence_id, " needs ", needed,
                     " bytes of KV, ", options_.capacity_bytes - used_bytes_,
                     " of ", options_.capacity_bytes, " are free"));
  }
  used_bytes_ += ExtraBytes(fork, length);
  std::vector<BlockCopy> copies;
  const size_t num_units = fork.units.size();
  fork.tables.resize(num_units);
  fork.trimmed.resize(num_units);
  for (size_t unit = 0; unit < num_units; ++unit) {
    const std::vector<int32_t>& from = it->second.tables[unit];
    const int block_class = fork.units[unit].block_class;
    std::vector<int32_t>& table = fork.tables[unit];
    table.assign(from.begin(), from.begin() + whole);
    for (const int32_t id : table) {
      if (id != kDropped) ++pools_[block_class].references[id];
    }
    if (length % kKvBlockPositions == 0) continue;
    if (!fork.units[unit].Holds(whole)) {
      table.push_back(kDropped);
      continue;
    }
    table.push_back(TakeBlock(block_class));
    copies.push_back({static_cast<int64_t>(unit), from[whole], table.back()});
  }
  fork.shares_blocks = it->second.shares_blocks = true;
  sequences_.emplace(sequence_id, std::move(fork));
  return copies;
}

absl::Status KvBook::Restore(uint64_t sequence_id, int64_t length,
                             std::vector<UnitStorage> units,
                             int64_t prompt_len) {
  HEADWISE_CHECK(!Contains(sequence_id) && length >= 0);
  Sequence sequence;
  sequence.length = length;
  sequence.prompt_len = prompt_len;
  sequence.units = std::move(units);
  const int64_t extra = ExtraBytes(sequence, length);
  int64_t needed = extra;
  for (const UnitStorage& unit : sequence.units) {
    const KeptSpans kept = KeptOf(unit.policy, length, prompt_len);
    for (int64_t b = 0; b < BlocksFor(length); ++b) {
      if (!unit.Holds(b) || !IsBlockKept(kept, b)) continue;
      needed += options_.class_bytes[unit.block_class];
    }
  }
  if (needed > FreeBytes()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "sequence ", sequence_id, " needs ", needed, " bytes of KV, ",
        FreeBytes(), " of ", options_.capacity_bytes, " are free"));
  }
  used_bytes_ += extra;
  sequence.trimmed.resize(sequence.units.size());
  for (const UnitStorage& unit : sequence.units) {
    const KeptSpans kept = KeptOf(unit.policy, length, prompt_len);
    std::vector<int32_t>& table = sequence.tables.emplace_back();
    for (int64_t b = 0; b < BlocksFor(length); ++b) {
      const bool is_here = unit.Holds(b) && IsBlockKept(kept, b);
      table.push_back(is_here ? TakeBlock(unit.block_class) : kDropped);
    }
  }
  sequences_.emplace(sequence_id, std::move(sequence));
  return absl::OkStatus();
}

int32_t KvBook::TakeBlock(int block_class) {
  Pool& pool = pools_[block_class];
  used_bytes_ += options_.class_bytes[block_class];
  if (pool.free.empty()) {
    pool.references.push_back(1);
    return static_cast<int32_t>(pool.references.size() - 1);
  }
  const int32_t id = pool.free.back();
  pool.free.pop_back();
  pool.references[id] = 1;
  return id;
}

void KvBook::DropBlock(int block_class, int32_t id) {
  Pool& pool = pools_[block_class];
  if (--pool.references[id] > 0) return;
  used_bytes_ -= options_.class_bytes[block_class];
  pool.free.push_back(id);
}

void KvBook::Free(uint64_t sequence_id) {
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) return;
  const Sequence& sequence = it->second;
  used_bytes_ -= ExtraBytes(sequence, sequence.length);
  for (size_t unit = 0; unit < sequence.tables.size(); ++unit) {
    const std::vector<int32_t>& table = sequence.tables[unit];
    for (auto id = table.rbegin(); id != table.rend(); ++id) {
      if (*id != kDropped) DropBlock(sequence.units[unit].block_class, *id);
    }
  }
  sequences_.erase(it);
}

const std::vector<int32_t>& KvBook::Blocks(uint64_t sequence_id,
                                           int64_t unit) const {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end() && 0 <= unit &&
                 unit < options_.num_units);
  return it->second.tables[static_cast<size_t>(unit)];
}

const std::vector<UnitStorage>& KvBook::Units(uint64_t sequence_id) const {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end());
  return it->second.units;
}

int64_t KvBook::PromptLen(uint64_t sequence_id) const {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end());
  return it->second.prompt_len;
}

}  // namespace headwise
