#include "model/head_plan/kv_retention.h"

#include <algorithm>
#include <limits>

namespace headwise {
namespace {

constexpr int64_t kEverything = std::numeric_limits<int64_t>::max();

int64_t BlocksOf(int64_t positions) {
  return (positions + kRetentionBlock - 1) / kRetentionBlock;
}

bool KeepsPrompt(const UnitPolicy& policy) {
  return policy.kind == PolicyKind::kRazor && policy.full_prompt;
}

}  // namespace

bool Drops(const UnitPolicy& policy) {
  return policy.kind == PolicyKind::kStreaming ||
         policy.kind == PolicyKind::kRazor;
}

int64_t RotationPeriod(const UnitPolicy& policy) {
  const bool renumbers_chunks =
      policy.kind == PolicyKind::kLongHeads ||
      (policy.kind == PolicyKind::kLandmark && policy.slot_positions);
  return renumbers_chunks ? policy.chunk_len : 0;
}

bool CanTakeOver(const UnitPolicy& from, const UnitPolicy& to) {
  if (RotationPeriod(from) != RotationPeriod(to)) return false;
  return to.kind != PolicyKind::kLongHeads || from.kind == to.kind;
}

KeptSpans NeededByFork(const UnitPolicy& to, int64_t length, int64_t prompt_len,
                       bool continues) {
  if (to.kind == PolicyKind::kRazor && !continues) return {length, length};
  return KeptOf(to, length, prompt_len);
}

bool IsAsTrained(const HeadPlan* plan, int64_t layer, int64_t kv_head) {
  if (plan == nullptr) return true;
  if (plan->unit(layer, kv_head).kind != PolicyKind::kFull) return false;
  if (plan->heads.empty()) return true;
  const int64_t g = plan->num_heads / plan->num_kv_heads;
  for (int64_t h = kv_head * g; h < (kv_head + 1) * g; ++h) {
    if (plan->head(layer, h).sink_beta != 1.0f) return false;
  }
  return true;
}

int64_t WindowOf(const UnitPolicy& policy, int64_t prompt_len) {
  if (!Drops(policy)) return kEverything;
  if (!KeepsPrompt(policy) || policy.window_divisor == 0) return policy.window;
  return std::max(policy.window, prompt_len / policy.window_divisor);
}

KeptSpans KeptOf(const UnitPolicy& policy, int64_t length, int64_t prompt_len) {
  if (!Drops(policy)) return {length, length};
  if (KeepsPrompt(policy) && length < prompt_len) return {length, length};
  const int64_t sinks_end = std::min(policy.num_sinks, length);
  // The next query is at `length` and sees `window` positions, its own
  // included.
  const int64_t window = WindowOf(policy, prompt_len);
  return {sinks_end, std::max(sinks_end, length - window + 1)};
}

bool IsBlockKept(const KeptSpans& kept, int64_t index) {
  const int64_t begin = index * kRetentionBlock;
  return begin < kept.sinks_end || begin + kRetentionBlock > kept.kept_begin;
}

int64_t BlocksHeld(const UnitPolicy& policy, int64_t length,
                   int64_t prompt_len) {
  const KeptSpans kept = KeptOf(policy, length, prompt_len);
  const int64_t all = BlocksOf(length);
  const int64_t sink_blocks = BlocksOf(kept.sinks_end);
  const int64_t first_kept = kept.kept_begin / kRetentionBlock;
  return all - std::max<int64_t>(first_kept - sink_blocks, 0);
}

int64_t MaxBlocksHeld(const UnitPolicy& policy, int64_t length,
                      int64_t prompt_len) {
  const int64_t all = BlocksOf(length);
  if (!Drops(policy)) return all;
  // What is kept, the rows in flight, and a block that both ends share.
  const int64_t window = WindowOf(policy, prompt_len);
  const int64_t steady = BlocksOf(policy.num_sinks) +
                         BlocksOf(std::min(window, length) - 1 +
                                  std::min(kRowsBeforeDrop, length)) +
                         1;
  const int64_t dropping = std::min(all, steady);
  if (!KeepsPrompt(policy)) return dropping;
  const int64_t prompt_end =
      std::min(std::min(prompt_len, length) + kRowsBeforeDrop, length);
  return std::max(BlocksOf(prompt_end), dropping);
}

int64_t ExtraBytesHeld(const UnitPolicy& policy, int64_t length,
                       int64_t head_dim, int64_t heads_per_kv_head) {
  constexpr int64_t kFloat = 4;
  switch (policy.kind) {
    case PolicyKind::kRazor:
      return 2 * head_dim * static_cast<int64_t>(sizeof(double));
    case PolicyKind::kLongHeads: {
      // Chunk keys lie in fp32 blocks; the open chunk keeps its queries.
      const int64_t blocks = BlocksOf(length / policy.chunk_len);
      const int64_t block_bytes = 2 * kRetentionBlock * head_dim * kFloat;
      const int64_t queries = policy.chunk_len * head_dim * kFloat;
      return heads_per_kv_head * (blocks * block_bytes + queries);
    }
    case PolicyKind::kQuest:
      return length / kRetentionBlock * 2 * head_dim * kFloat;
    case PolicyKind::kLandmark:
      // Their keys lie in fp32 blocks, which have room for values.
      return BlocksOf(length / policy.chunk_len) * 2 * kRetentionBlock *
             head_dim * kFloat;
    case PolicyKind::kFull:
    case PolicyKind::kStreaming:
    case PolicyKind::kLandmarkOracle:
      return 0;
  }
  return 0;
}

}  // namespace headwise
