#include "worker/sessions/session_part.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/head_plan/kv_retention.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

constexpr int64_t kBlock = KvLayout::kPositions;

// Of UnitNotes at its largest. Vectors of pages grow by 1/64.
int64_t MemoryBytes(const UnitPolicy& policy, const SessionShape& shape) {
  const int64_t bytes = ExtraBytesHeld(policy, shape.max_positions,
                                       shape.head_dim, shape.heads_per_kv_head);
  return bytes + bytes / 64;
}

}  // namespace

SessionPart::SessionPart(const SessionShape& shape,
                         const std::vector<UnitShare>& units, BlockPool& pool)
    : shape_(shape), pool_(pool) {
  for (const UnitShare& share : units) {
    units_.push_back({share, {}, {}});
    max_blocks_ += MaxBlocks(share, shape.max_positions);
  }
}

SessionPart::~SessionPart() {
  for (const Unit& unit : units_) {
    for (uint8_t* block : unit.blocks) {
      if (block != nullptr) pool_.RemoveUser(block);
    }
  }
}

const SessionPart::Unit* SessionPart::FindUnit(int64_t kv_head) const {
  const auto found = std::lower_bound(
      units_.begin(), units_.end(), kv_head,
      [](const Unit& unit, int64_t key) { return unit.share.kv_head < key; });
  const bool is_there =
      found != units_.end() && found->share.kv_head == kv_head;
  return is_there ? &*found : nullptr;
}

int64_t SessionPart::table_bytes() const {
  const int64_t max_blocks = (shape_.max_positions + kBlock - 1) / kBlock;
  int64_t bytes = 0;
  for (const Unit& unit : units_) {
    bytes += max_blocks * static_cast<int64_t>(sizeof(uint8_t*)) +
             MemoryBytes(unit.share.policy, shape_);
  }
  return bytes;
}

int64_t SessionPart::bytes_to_come() const {
  return (max_blocks_ - num_held_) * pool_.block_bytes() + table_bytes();
}

int64_t SessionPart::max_bytes() const {
  return bytes_to_come() + num_held_ * pool_.block_bytes();
}

void SessionPart::DropUnneeded(int64_t length) {
  for (Unit& unit : units_) {
    if (!Drops(unit.share.policy)) continue;
    const auto whole =
        std::min(length / kBlock, static_cast<int64_t>(unit.blocks.size()));
    for (int64_t index = 0; index < whole; ++index) {
      if (unit.blocks[index] == nullptr ||
          IsBlockKeptAt(unit.share, length, index)) {
        continue;
      }
      pool_.RemoveUser(unit.blocks[index]);
      unit.blocks[index] = nullptr;
      --num_held_;
    }
  }
}

absl::Status SessionPart::CheckHeld(const Unit& unit, int64_t begin,
                                    int64_t end) {
  for (int64_t index = begin / kBlock; index * kBlock < end; ++index) {
    if (index >= static_cast<int64_t>(unit.blocks.size()) ||
        unit.blocks[index] == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          "position ", std::max(begin, index * kBlock), " of kv_head ",
          unit.share.kv_head, " is not held any more"));
    }
  }
  return absl::OkStatus();
}

void SessionPart::Hold(Unit& unit, int64_t index, uint8_t* block) {
  if (static_cast<int64_t>(unit.blocks.size()) <= index) {
    unit.blocks.resize(index + 1);
  }
  unit.blocks[index] = block;
  ++num_held_;
}

absl::Status SessionPart::MakeRoom(int64_t kv_head, int64_t begin,
                                   int64_t end) {
  const Unit* found = FindUnit(kv_head);
  if (found == nullptr || begin < 0 || begin >= end ||
      end > shape_.max_positions ||
      !HoldsRange(found->share, RangeIndexOf(begin)) ||
      !HoldsRange(found->share, RangeIndexOf(end - 1)) ||
      (!found->share.is_whole() &&
       RangeIndexOf(begin) != RangeIndexOf(end - 1))) {
    return absl::InvalidArgumentError(absl::StrCat("positions ", begin, " to ",
                                                   end, " of kv_head ", kv_head,
                                                   " are not of this worker"));
  }
  Unit& unit = units_[found - units_.data()];
  for (int64_t index = begin / kBlock; index * kBlock < end; ++index) {
    const bool is_held = index < static_cast<int64_t>(unit.blocks.size()) &&
                         unit.blocks[index] != nullptr;
    if (!is_held) {
      Hold(unit, index, pool_.Take());
    } else if (pool_.num_users(unit.blocks[index]) > 1) {
      return absl::FailedPreconditionError(absl::StrCat(
          "block ", index, " of kv_head ", kv_head, " is shared by a fork"));
    }
  }
  return absl::OkStatus();
}

bool SessionPart::IsShared(const Unit& unit, int64_t index, int64_t length) {
  return !Drops(unit.share.policy) && (index + 1) * kBlock <= length;
}

int64_t SessionPart::fork_bytes(int64_t length) const {
  int64_t num_shared = 0;
  for (const Unit& unit : units_) {
    for (size_t index = 0; index < unit.blocks.size(); ++index) {
      if (unit.blocks[index] != nullptr &&
          IsShared(unit, static_cast<int64_t>(index), length)) {
        ++num_shared;
      }
    }
  }
  return (max_blocks_ - num_shared) * pool_.block_bytes() + table_bytes();
}

std::unique_ptr<SessionPart> SessionPart::Fork(int64_t length) const {
  auto fork =
      std::make_unique<SessionPart>(shape_, std::vector<UnitShare>(), pool_);
  fork->max_blocks_ = max_blocks_;
  for (const Unit& unit : units_) {
    fork->units_.push_back({unit.share, {}, unit.memory});
    // Of whole pages below `length`: others may be stored anew.
    std::vector<float>& bounds = fork->units_.back().memory.page_bounds;
    bounds.resize(
        std::min(bounds.size(),
                 static_cast<size_t>(length / kBlock * 2 * shape_.head_dim)));
    const auto num_blocks = std::min((length + kBlock - 1) / kBlock,
                                     static_cast<int64_t>(unit.blocks.size()));
    for (int64_t index = 0; index < num_blocks; ++index) {
      uint8_t* block = unit.blocks[index];
      if (block == nullptr) continue;
      if (IsShared(unit, index, length)) {
        pool_.AddUser(block);
      } else {
        uint8_t* copy = pool_.Take();
        std::memcpy(copy, block, static_cast<size_t>(pool_.block_bytes()));
        block = copy;
      }
      fork->Hold(fork->units_.back(), index, block);
    }
  }
  return fork;
}

}  // namespace headwise
