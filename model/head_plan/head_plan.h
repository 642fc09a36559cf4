// A head plan: what every unit of a model keeps and sees, and what becomes of
// every query head's output.
//
// A unit is one KV head of one layer with the query heads that share it. Plain
// values; check with CheckHeadPlan before use.

#ifndef HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_H_
#define HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace headwise {

// How a unit's queries see its context. The query at position t always sees
// itself and never a later position.
enum class PolicyKind : uint8_t {
  // All of [0, t].
  kFull,
  // [0, sinks) and (t - window, t]; what lies between is dropped (StreamingLLM,
  // Xiao et al., arXiv 2309.17453; DuoAttention, Xiao et al., 2410.10819).
  kStreaming,
  // As kStreaming, with one slot more that stands for what was dropped: the
  // mean of its keys and values (RazorAttention, Tang et al., 2407.15891).
  kRazor,
  // The first chunk, the chunks that score best, the last whole chunk and what
  // follows it, at positions renumbered without gaps (LongHeads, Lu et al.,
  // 2402.10685). Nothing is dropped.
  kLongHeads,
  // The blocks whose bound on any score is highest, the first and the last
  // ones, at true positions (Quest, Tang et al., 2406.10774). Nothing is
  // dropped.
  kQuest,
  // The blocks whose own log-sum-exp is highest: what a perfect landmark would
  // choose (Landmark, Mohtashami and Jaggi, 2305.16300), in a model that has no
  // landmark tokens. Reads everything; for research. Nothing is dropped.
  kLandmarkOracle,
  // For a model trained with landmark tokens (the same paper), one at the end
  // of every chunk: its score competes in the softmax over the query's own
  // chunk, and what it gets its chunk's other positions share by a softmax of
  // their own. A query sees the chunks whose landmarks score best, and its own.
  // Nothing is dropped.
  kLandmark,
};

// How a unit's keys and values are stored.
enum class PlanKvType : uint8_t {
  kDefault,  // the server's --kv-type
  kFp32,
  kFp16,
  kBf16,
  kInt8,
};

// Fields that a kind does not name keep their defaults.
struct UnitPolicy {
  PolicyKind kind = PolicyKind::kFull;
  PlanKvType kv_type = PlanKvType::kDefault;

  // kStreaming, kRazor.
  int64_t num_sinks = 0;  // positions, 0 to 4,096
  int64_t window = 0;     // positions, 1 to 2^20, the query's own included
  // Else true distances. kStreaming: rotary distances stay below num_sinks +
  // window, as if the dropped positions had never been. kLandmark: below
  // (num_chunks + 1) * chunk_len, the paper's "stingy" positions: the last
  // num_chunks chunks stand where they are, the others as one before them.
  bool slot_positions = false;

  // kRazor.
  // The slot's weight: the number of dropped positions; else 1.
  bool count_weight = true;
  // Queries of the prompt see all of [0, t]; dropping begins after the prompt
  // (as published). Else from the first position on, as kStreaming.
  bool full_prompt = true;
  // With full_prompt: the window is max(window, prompt_len / window_divisor);
  // 0 to 2^20, 0: window. Without it: 0.
  int64_t window_divisor = 0;

  // kLongHeads, kQuest, kLandmarkOracle, kLandmark: positions of a chunk, 64 to
  // 4,096 and a multiple of 64 (kQuest: 64), and how many chunks a query sees,
  // its own included: 3 to 256. All kLandmark units of a plan have one
  // chunk_len.
  int64_t chunk_len = 0;
  int64_t num_chunks = 0;
  // Each query head chooses for itself; else the best score of the unit's heads
  // counts for all.
  bool per_query_head = false;

  friend bool operator==(const UnitPolicy&, const UnitPolicy&) = default;
};

enum class HeadMask : uint8_t {
  kNone,
  // Scores are 0: the mean of all values that it sees. kLandmark: a chunk
  // weighs as much as a position of the query's own.
  kUniform,
  kZero,  // output is 0
};

struct QueryHeadPlan {
  HeadMask mask = HeadMask::kNone;
  float output_scale = 1.0f;  // of the head's output; finite, |x| <= 1,000
  // ACT (Yu et al., arXiv 2406.15765): a position of the prompt beyond the
  // first whose mean attention exceeds `sink_threshold` keeps `sink_beta` of
  // its probability, the rest goes to the others. 1: no calibration.
  float sink_beta = 1.0f;       // 0 to 1
  float sink_threshold = 0.0f;  // (0, 1] where sink_beta < 1, else 0

  friend bool operator==(const QueryHeadPlan&, const QueryHeadPlan&) = default;
};

struct HeadPlan {
  std::string model_sha256;  // 64 hexadecimal digits, lower case
  int64_t num_layers = 0;    // 1 to 1,024
  int64_t num_heads = 0;     // query heads of a layer, 1 to 1,024
  int64_t num_kv_heads = 0;  // divides num_heads; at most 65,536 heads in all
  std::vector<UnitPolicy> units;     // [num_layers * num_kv_heads]
  std::vector<QueryHeadPlan> heads;  // [num_layers * num_heads]
  std::string origin;  // what made it, for people; UTF-8, to 4,096 bytes
  // The token that stands at the end of every chunk of kLandmark units; -1:
  // prompts are not looked at. Without such units: -1.
  int64_t landmark_token = -1;

  const UnitPolicy& unit(int64_t layer, int64_t kv_head) const {
    return units[static_cast<size_t>(layer * num_kv_heads + kv_head)];
  }
  const QueryHeadPlan& head(int64_t layer, int64_t head) const {
    return heads[static_cast<size_t>(layer * num_heads + head)];
  }
  friend bool operator==(const HeadPlan&, const HeadPlan&) = default;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_H_
