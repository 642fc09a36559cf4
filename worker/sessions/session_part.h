// What one worker holds of one session: the blocks of its units.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_PART_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_PART_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/sessions/block_pool.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

// What a unit remembers of positions besides their keys and values, as UnitKv
// has it (worker/executor/unit_kv.h).
struct UnitNotes {
  int64_t folded_end = 0;          // kRazor
  std::vector<double> folded_sum;  // [2][head_dim]; empty: nothing yet
  std::vector<float> page_bounds;  // kQuest: [pages][2][head_dim]
};

// Not thread-safe; kernels may read blocks on many threads between calls.
class SessionPart {
 public:
  struct Unit {
    UnitShare share;
    // Block b: positions [64 b, 64 b + 64); nullptr where none is held.
    std::vector<uint8_t*> blocks;
    UnitNotes memory;
  };

  // `pool` must outlive the part and have blocks of the shape's layout. The
  // shape and the units have been checked.
  SessionPart(const SessionShape& shape, const std::vector<UnitShare>& units,
              BlockPool& pool);
  ~SessionPart();
  SessionPart(const SessionPart&) = delete;
  SessionPart& operator=(const SessionPart&) = delete;

  const SessionShape& shape() const { return shape_; }
  BlockPool& pool() const { return pool_; }
  const std::vector<Unit>& units() const { return units_; }
  // nullptr: this worker holds nothing of it.
  const Unit* FindUnit(int64_t kv_head) const;

  // What it may still take from the pool, and its tables.
  int64_t bytes_to_come() const;
  // The most that it can ever have.
  int64_t max_bytes() const;

  // Gives back what units that drop no longer need at this length; they have
  // remembered what they must (policy_units.h).
  void DropUnneeded(int64_t length);

  // FailedPrecondition unless all of positions [begin, end) of the unit is
  // here.
  static absl::Status CheckHeld(const Unit& unit, int64_t begin, int64_t end);
  // Of units(), which it indexes.
  UnitNotes& memory(size_t unit) { return units_[unit].memory; }

  // The blocks of positions [begin, end) of a unit exist, and nobody else
  // reads them. InvalidArgument for positions of others; FailedPrecondition for
  // blocks that a fork shares.
  absl::Status MakeRoom(int64_t kv_head, int64_t begin, int64_t end);

  // What a fork would take from the pool, now and later, and its tables.
  int64_t fork_bytes(int64_t length) const;
  // The first `length` positions, for another owner: whole blocks of full units
  // are shared, the others copied.
  std::unique_ptr<SessionPart> Fork(int64_t length) const;

 private:
  // Whole blocks of full units are never written again.
  static bool IsShared(const Unit& unit, int64_t index, int64_t length);
  int64_t table_bytes() const;
  void Hold(Unit& unit, int64_t index, uint8_t* block);

  const SessionShape shape_;
  BlockPool& pool_;
  std::vector<Unit> units_;
  int64_t max_blocks_ = 0;
  int64_t num_held_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_PART_H_
