#include "worker/sessions/session_geometry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/kv_retention.h"
#include "model/head_plan/policy_names.h"

namespace headwise {
namespace {

constexpr int64_t kBlock = KvLayout::kPositions;

constexpr int64_t BlocksOf(int64_t positions) {
  return (positions + kBlock - 1) / kBlock;
}

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t low,
                        int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", value, ", allowed ", low, " to ", high));
}

}  // namespace

KeptPositions KeptAt(const UnitShare& share, int64_t length) {
  if (!Drops(share.policy)) return {length, length};
  const int64_t sinks_end = std::min(share.policy.num_sinks, length);
  return {sinks_end,
          std::max(sinks_end, length - share.policy.window - kMaxQueryRows)};
}

bool HasSums(const UnitShare& share, int64_t length) {
  return share.policy.kind == PolicyKind::kRazor &&
         KeptAt(share, length).kept_begin > share.policy.num_sinks;
}

bool IsBlockKeptAt(const UnitShare& share, int64_t length, int64_t index) {
  const KeptPositions kept = KeptAt(share, length);
  return kBlock * index < kept.sinks_end ||
         kBlock * index + kBlock > kept.kept_begin;
}

bool HoldsRange(const UnitShare& share, int64_t range) {
  return share.is_whole() ||
         std::binary_search(share.ranges.begin(), share.ranges.end(), range);
}

int64_t MaxBlocks(const UnitShare& share, int64_t max_positions) {
  const int64_t all = BlocksOf(max_positions);
  if (Drops(share.policy)) {
    // What is kept, the chunk that pushes it out, and a part of a block at
    // either end.
    return std::min(all, BlocksOf(share.policy.num_sinks) +
                             BlocksOf(share.policy.window + kMaxQueryRows +
                                      kMaxChunkPositions) +
                             2);
  }
  if (share.is_whole()) return all;
  int64_t count = 0;
  for (const int32_t range : share.ranges) {
    const int64_t begin = BeginOfRange(range);
    if (begin >= max_positions) break;
    count += BlocksOf(std::min(RangeEnd(begin), max_positions) - begin);
  }
  return count;
}

std::vector<BlockRun> BlockRuns(const UnitShare& share, int64_t length,
                                int64_t max_blocks) {
  std::vector<BlockRun> runs;
  if (HasSums(share, length)) runs.push_back({share.kv_head, 0, 0});
  for (int64_t index = 0; index < BlocksOf(length); ++index) {
    if (!IsBlockKeptAt(share, length, index)) continue;
    const int64_t range = RangeIndexOf(kBlock * index);
    if (!HoldsRange(share, range)) continue;
    const bool goes_on =
        !runs.empty() && runs.back().num_blocks > 0 &&
        runs.back().num_blocks < max_blocks &&
        runs.back().first_block + runs.back().num_blocks == index &&
        RangeIndexOf(kBlock * runs.back().first_block) == range;
    if (goes_on) {
      ++runs.back().num_blocks;
    } else {
      runs.push_back({share.kv_head, index, 1});
    }
  }
  return runs;
}

absl::Status CheckShape(const SessionShape& shape) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("num_kv_heads", shape.num_kv_heads, 1, kMaxSessionKvHeads));
  HEADWISE_RETURN_IF_ERROR(CheckRange("heads_per_kv_head",
                                      shape.heads_per_kv_head, 1,
                                      kMaxSessionHeadsPerKvHead));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("head_dim", shape.head_dim, 16, kMaxSessionHeadDim));
  if (shape.head_dim % 16 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "head_dim: ", shape.head_dim, ", must be a multiple of 16"));
  }
  return CheckRange("max_positions", shape.max_positions, 1,
                    kMaxSessionPositions);
}

absl::Status CheckLength(const SessionShape& shape, int64_t length) {
  if (length >= 0 && length <= shape.max_positions) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("length: ", length, ", allowed 0 to ", shape.max_positions));
}

absl::Status CheckSessionPolicy(const UnitPolicy& policy) {
  switch (policy.kind) {
    case PolicyKind::kFull:
    case PolicyKind::kStreaming:
    case PolicyKind::kRazor:
    case PolicyKind::kQuest:
    case PolicyKind::kLandmarkOracle:
      if (!policy.slot_positions) break;
      [[fallthrough]];
    case PolicyKind::kLongHeads:
      return absl::UnimplementedError(absl::StrCat(
          "policy ", NameOf(policy.kind),
          policy.slot_positions ? " with slot_positions" : "",
          " renumbers positions, but a session's keys come as the caller has "
          "rotated them and stay so"));
    default:
      return absl::UnimplementedError(absl::StrCat(
          "sessions do not have the policy \"", NameOf(policy.kind), "\""));
  }
  HEADWISE_RETURN_IF_ERROR(CheckUnitPolicy(policy));
  if (policy.kind == PolicyKind::kRazor && policy.full_prompt) {
    return absl::InvalidArgumentError(
        "full_prompt: a session knows no prompt; must be false");
  }
  if (policy.kv_type == PlanKvType::kDefault) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "kv_type: is the session's, not a policy's");
}

absl::Status CheckShares(const SessionShape& shape,
                         const std::vector<UnitShare>& units) {
  const int64_t num_ranges = NumRanges(shape.max_positions);
  int64_t last_kv_head = -1;
  for (const UnitShare& unit : units) {
    HEADWISE_RETURN_IF_ERROR(CheckRange(
        "kv_head", unit.kv_head, last_kv_head + 1, shape.num_kv_heads - 1));
    last_kv_head = unit.kv_head;
    HEADWISE_RETURN_IF_ERROR(CheckSessionPolicy(unit.policy));
    if (!unit.is_full() && !unit.is_whole()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "kv_head ", unit.kv_head, ": only a full unit has ranges"));
    }
    int64_t last_range = -1;
    for (const int32_t range : unit.ranges) {
      HEADWISE_RETURN_IF_ERROR(
          CheckRange("range", range, last_range + 1, num_ranges - 1));
      last_range = range;
    }
  }
  return absl::OkStatus();
}

}  // namespace headwise
