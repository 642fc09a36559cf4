// What one rank holds of one sequence.

#ifndef HEADWISE_WORKER_EXECUTOR_UNIT_KV_H_
#define HEADWISE_WORKER_EXECUTOR_UNIT_KV_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "model/head_plan/head_plan.h"
#include "model/head_plan/kv_retention.h"
#include "worker/attention/sink_search.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/executor/unit_memory.h"

namespace headwise {

// What stands for the whole chunks of a context: of one query head (LongHeads),
// or for all of a unit (landmarks). Keys of fp32 blocks, so that the scores
// kernel reads them like a cache.
struct ChunkKeys {
  std::vector<std::shared_ptr<AlignedBuffer<uint8_t>>> storage;
  std::vector<const uint8_t*> blocks;  // of 64 chunks each
};

// ACT: the sinks that one query head's rows from `first_position` on are
// calibrated by.
struct CalibratedSinks {
  int64_t first_position = 0;
  std::vector<int64_t> sinks;  // ascending
};

// A query head that is calibrated (QueryHeadPlan::sink_beta below 1).
struct CalibratedHead {
  int64_t head = 0;  // within the unit
  float sink_beta = 1.0f;
  float sink_threshold = 0.0f;
  SinkSearch search;
  // By position; covers at least the rows of the batch that is on its way.
  std::vector<CalibratedSinks> sinks;
};

// One unit of the rank.
struct UnitKv {
  UnitPolicy policy;
  // This rank holds only some ranges of the context, and gives partials.
  bool is_cut = false;
  // Another rank has all of it: a unit whose placement is cut, under a policy
  // that is not.
  bool is_elsewhere = false;
  KvLayout layout;
  // By position / 64; nullptr: dropped, or on another rank.
  std::vector<uint8_t*> blocks;

  // kRazor: sums over the dropped positions [num_sinks, folded_end), in
  // position order: [2][head_dim], keys then values.
  int64_t folded_end = 0;
  std::vector<double> folded_sum;

  // kLongHeads: of the whole chunks so far, and the queries of the open one.
  int64_t num_chunk_keys = 0;
  std::vector<ChunkKeys> chunk_keys;  // [g]
  std::vector<float> open_queries;    // [g][chunk_len][head_dim]

  // kLandmark: keys of the landmarks so far, as they are stored. Made of the
  // blocks whenever they are not here: in a fork, in a resumed sequence.
  int64_t num_landmarks = 0;
  ChunkKeys landmarks;

  std::vector<CalibratedHead> calibrated;

  // kQuest: smallest and largest keys of whole pages, [pages][2][head_dim].
  std::vector<float> page_bounds;

  // Attention as trained.
  bool is_plain() const {
    return policy.kind == PolicyKind::kFull && calibrated.empty();
  }
};

struct SequenceKv {
  std::shared_ptr<const HeadPlan> plan;  // nullptr: every unit full
  // INT64_MAX: everything is prompt.
  int64_t prompt_len = std::numeric_limits<int64_t>::max();
  std::vector<UnitKv> units;  // [units of the rank]
  // Of a model with neural memories, [units of the rank]; else empty.
  std::vector<UnitMemory> memories;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_UNIT_KV_H_
