// Which positions a unit keeps under its policy: the one truth for the caches,
// for admission and for forecasts.

#ifndef HEADWISE_MODEL_HEAD_PLAN_KV_RETENTION_H_
#define HEADWISE_MODEL_HEAD_PLAN_KV_RETENTION_H_

#include <cstdint>

#include "model/head_plan/head_plan.h"

namespace headwise {

// Positions of a KV block.
inline constexpr int64_t kRetentionBlock = 64;
// Rows that may be stored before what they push out is dropped: two batches of
// the executor (RowBatch, kMaxBatchRows).
inline constexpr int64_t kRowsBeforeDrop = 256;

// What a unit keeps of a sequence of `length` positions whose prompt has
// `prompt_len`: [0, sinks_end) and [kept_begin, length). Nothing is dropped
// between if kept_begin <= sinks_end.
struct KeptSpans {
  int64_t sinks_end = 0;
  int64_t kept_begin = 0;
};
KeptSpans KeptOf(const UnitPolicy& policy, int64_t length, int64_t prompt_len);

// Whether a plan leaves a unit's attention as it was trained: full, and none of
// its query heads calibrated. A null plan is the default one. Only such units
// are cut over ranks.
bool IsAsTrained(const HeadPlan* plan, int64_t layer, int64_t kv_head);

// Whether the policy ever drops a position.
bool Drops(const UnitPolicy& policy);

// LongHeads, and landmark with slot positions, rotate keys by their place in
// the chunk: that long; 0: all others, by their true position.
int64_t RotationPeriod(const UnitPolicy& policy);

// Whether a sequence under `to` can go on from what one under `from` stored:
// keys are rotated alike, and what LongHeads makes of its queries is there.
bool CanTakeOver(const UnitPolicy& from, const UnitPolicy& to);

// What a sequence under `to`, with `prompt_len`, that begins as a fork at
// `length` needs of its source. A compensation slot is made of what is dropped,
// so it needs everything, unless it `continues` the source: then it is at the
// source's end, under its policy and with its prompt_len, and takes it over.
KeptSpans NeededByFork(const UnitPolicy& to, int64_t length, int64_t prompt_len,
                       bool continues);

// The window that applies to queries after the prompt; INT64_MAX where nothing
// is dropped.
int64_t WindowOf(const UnitPolicy& policy, int64_t prompt_len);

// Whether block `index`, [64 index, 64 index + 64), is kept.
bool IsBlockKept(const KeptSpans& kept, int64_t index);

// Blocks of a unit at a length, and the most at any length up to it, batches in
// flight included.
int64_t BlocksHeld(const UnitPolicy& policy, int64_t length,
                   int64_t prompt_len);
int64_t MaxBlocksHeld(const UnitPolicy& policy, int64_t length,
                      int64_t prompt_len);

// Bytes beside the blocks that a unit holds for one sequence of `length`
// positions: summaries of chunks, queries of an open chunk, a compensation
// slot. `heads_per_kv_head` query heads share the unit.
int64_t ExtraBytesHeld(const UnitPolicy& policy, int64_t length,
                       int64_t head_dim, int64_t heads_per_kv_head);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_KV_RETENTION_H_
