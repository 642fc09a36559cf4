#include "worker/executor/sequences.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {

// The books count in the blocks that the kernels read.
static_assert(kKvBlockPositions == KvLayout::kPositions);

Sequences::Sequences(int64_t num_units, int64_t capacity_blocks,
                     int64_t block_bytes, int64_t vocab_size)
    : num_units_(num_units),
      vocab_size_(vocab_size),
      book_(num_units, capacity_blocks),
      store_(block_bytes) {}

void Sequences::Free(uint64_t sequence_id) {
  book_.Free(sequence_id);
  sequences_.erase(sequence_id);
}

absl::Status Sequences::CheckSlice(const Slice& slice) const {
  const auto error = [&slice](auto... parts) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence ", slice.sequence_id, ": ", parts...));
  };
  const int64_t length = book_.Length(slice.sequence_id);
  if (slice.num_rows() == 0) return error("a slice without rows");
  if (slice.first_position != length) {
    return error("first_position ", slice.first_position, ", but ", length,
                 " positions are stored");
  }
  const auto it = sequences_.find(slice.sequence_id);
  if (slice.use_last_sample &&
      (it == sequences_.end() || it->second.last_sample < 0 ||
       it->second.last_sample >= vocab_size_ || !slice.tokens.empty())) {
    return error("use_last_sample without a sample, or with tokens");
  }
  for (int32_t token : slice.tokens) {
    if (token < 0 || token >= vocab_size_) {
      return error("token ", token, " is not in [0, ", vocab_size_, ")");
    }
  }
  if (!slice.score_targets.empty() &&
      static_cast<int64_t>(slice.score_targets.size()) != slice.num_rows()) {
    return error(slice.score_targets.size(), " score_targets for ",
                 slice.num_rows(), " rows");
  }
  for (int32_t target : slice.score_targets) {
    if (target < -1 || target >= vocab_size_) {
      return error("score target ", target, " is not in [-1, ", vocab_size_,
                   ")");
    }
  }
  return absl::OkStatus();
}

absl::Status Sequences::Check(const Step& step) const {
  int64_t needed = 0;
  absl::flat_hash_set<uint64_t> seen;
  for (const Slice& slice : step.slices) {
    HEADWISE_RETURN_IF_ERROR(CheckSlice(slice));
    if (!seen.insert(slice.sequence_id).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "sequence ", slice.sequence_id, " has two slices in one step"));
    }
    needed += book_.BlocksNeeded(slice.sequence_id, slice.num_rows());
  }
  const int64_t free = book_.capacity_blocks() - book_.used_blocks();
  if (needed > free) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the step needs ", needed, " KV blocks, ", free, " of ",
                     book_.capacity_blocks(), " are free"));
  }
  return absl::OkStatus();
}

std::vector<int32_t> Sequences::Append(const Slice& slice) {
  const bool grows =
      book_.BlocksNeeded(slice.sequence_id, slice.num_rows()) > 0;
  HEADWISE_CHECK(book_.Append(slice.sequence_id, slice.num_rows()).ok());
  Sequence& sequence = sequences_[slice.sequence_id];
  if (grows) ExtendTables(slice.sequence_id, &sequence);
  std::vector<int32_t> tokens = slice.tokens;
  if (slice.use_last_sample) tokens = {sequence.last_sample};
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  return tokens;
}

void Sequences::ExtendTables(uint64_t sequence_id, Sequence* sequence) {
  store_.Reserve(book_.ids_in_use());
  sequence->blocks.resize(static_cast<size_t>(num_units_));
  for (int64_t unit = 0; unit < num_units_; ++unit) {
    std::vector<uint8_t*>& table = sequence->blocks[unit];
    const std::vector<int32_t>& ids = book_.Blocks(sequence_id, unit);
    while (table.size() < ids.size()) {
      table.push_back(store_.Block(ids[table.size()]));
    }
  }
}

}  // namespace headwise
