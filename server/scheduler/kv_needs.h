// What a request needs of the caches of each rank.

#ifndef HEADWISE_SERVER_SCHEDULER_KV_NEEDS_H_
#define HEADWISE_SERVER_SCHEDULER_KV_NEEDS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/head_plan/head_plan.h"
#include "model/head_plan/kv_type.h"
#include "model/hyperparameters.h"

namespace headwise {

// Of a model; what its KV costs.
struct KvGeometry {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;  // of a layer
  int64_t heads_per_kv_head = 1;
  int64_t head_dim = 0;            // of what is kept; 0: no keys and values
  KvType kv_type = KvType::kFp16;  // where a plan leaves it to the server
  UnitPolicy default_unit;         // of every unit without a plan
  int64_t unit_state_bytes = 0;    // of a sequence, beside keys and values
  // Positions that a row attends to, in all heads, in the time that the rest
  // of it takes; 0: attention costs nothing.
  double row_positions = 0;

  int64_t num_heads() const { return num_kv_heads * heads_per_kv_head; }
};

KvGeometry KvGeometryOf(const Hyperparameters& hyper, KvType kv_type);

// Of a group.
struct KvCapacity {
  // [num_layers * num_kv_heads], by layer; empty: all units on rank 0.
  std::vector<int> unit_rank;
  // [num_layers * num_kv_heads] or empty: the ranks that a unit's context is
  // dealt to (model/head_plan/context_ranges.h).
  std::vector<std::vector<int>> range_rank;
  std::vector<int64_t> rank_bytes;  // [ranks]
};

// A sequence at its longest.
struct KvExtent {
  int64_t length = 0;      // positions
  int64_t prompt_len = 0;  // of them
};

// Positions for which bytes are told; more are counted as so many.
inline constexpr int64_t kMaxCountedContext = int64_t{1} << 30;

// Pure functions of a model and a placement; a null plan is the default one.
// O(units).
class KvNeeds {
 public:
  KvNeeds(const KvGeometry& geometry, KvCapacity capacity);

  // Bytes to set aside on each rank, batches in flight included.
  std::vector<int64_t> Reserved(const HeadPlan* plan, KvExtent extent) const;

  // As Reserved, of a fork at `shared_len` positions of a sequence under
  // `from`, for as long as that one stays: whole blocks are counted once where
  // neither drops any.
  std::vector<int64_t> ReservedByFork(const HeadPlan* from,
                                      const HeadPlan* plan, int64_t shared_len,
                                      KvExtent extent) const;

  // Bytes of KV that the row at `position` >= 0 of a prompt looks at, on all
  // ranks.
  int64_t ReadByRow(const HeadPlan* plan, int64_t position) const;

  // Positions, all of them prompt, of the longest sequence that fits.
  int64_t LongestContext(const HeadPlan* plan) const;

  const KvGeometry& geometry() const { return geometry_; }
  // rank_bytes has an entry for every rank of unit_rank.
  const KvCapacity& capacity() const { return capacity_; }

 private:
  const HeadPlan& PlanOf(const HeadPlan* plan) const {
    return plan == nullptr ? default_plan_ : *plan;
  }

  KvGeometry geometry_;
  KvCapacity capacity_;
  HeadPlan default_plan_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_KV_NEEDS_H_
