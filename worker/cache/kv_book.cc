#include "worker/cache/kv_book.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

int64_t BlocksFor(int64_t positions) {
  return (positions + kKvBlockPositions - 1) / kKvBlockPositions;
}

}  // namespace

KvBook::KvBook(int64_t num_units, int64_t capacity_blocks)
    : num_units_(num_units),
      capacity_blocks_(std::min<int64_t>(capacity_blocks,
                                         std::numeric_limits<int32_t>::max())) {
  HEADWISE_CHECK(num_units >= 0 && capacity_blocks >= 0);
}

bool KvBook::Contains(uint64_t sequence_id) const {
  return sequences_.contains(sequence_id);
}

int64_t KvBook::Length(uint64_t sequence_id) const {
  const auto it = sequences_.find(sequence_id);
  return it == sequences_.end() ? 0 : it->second.length;
}

int64_t KvBook::BlocksNeeded(uint64_t sequence_id,
                             int64_t num_positions) const {
  const int64_t length = Length(sequence_id);
  return num_units_ * (BlocksFor(length + num_positions) - BlocksFor(length));
}

absl::Status KvBook::Append(uint64_t sequence_id, int64_t num_positions) {
  const int64_t needed = BlocksNeeded(sequence_id, num_positions);
  if (needed > capacity_blocks_ - used_blocks_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("sequence ", sequence_id, " needs ", needed,
                     " KV blocks, ", capacity_blocks_ - used_blocks_, " of ",
                     capacity_blocks_, " are free"));
  }
  Sequence& sequence = sequences_[sequence_id];
  sequence.tables.resize(static_cast<size_t>(num_units_));
  sequence.length += num_positions;
  const auto count = static_cast<size_t>(BlocksFor(sequence.length));
  for (std::vector<int32_t>& table : sequence.tables) {
    while (table.size() < count) table.push_back(TakeBlock());
  }
  return absl::OkStatus();
}

int32_t KvBook::TakeBlock() {
  ++used_blocks_;
  if (free_.empty()) return never_used_++;
  const int32_t block = free_.back();
  free_.pop_back();
  return block;
}

void KvBook::Free(uint64_t sequence_id) {
  const auto it = sequences_.find(sequence_id);
  if (it == sequences_.end()) return;
  for (const std::vector<int32_t>& table : it->second.tables) {
    used_blocks_ -= static_cast<int64_t>(table.size());
    free_.insert(free_.end(), table.rbegin(), table.rend());
  }
  sequences_.erase(it);
}

const std::vector<int32_t>& KvBook::Blocks(uint64_t sequence_id,
                                           int64_t unit) const {
  const auto it = sequences_.find(sequence_id);
  HEADWISE_CHECK(it != sequences_.end() && 0 <= unit && unit < num_units_);
  return it->second.tables[static_cast<size_t>(unit)];
}

}  // namespace headwise
