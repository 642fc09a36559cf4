// What a coordinator asks of one worker's part of an attention session, and
// what the worker answers. Plain values that both sides share.
//
// A session holds keys and values of num_kv_heads units. Each unit's context is
// cut into the ranges of model/head_plan/context_ranges.h; a worker holds whole
// units, or some ranges of a unit. How many positions are stored is the
// coordinator's to say: what was staged beyond that number does not exist for
// anybody.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_MESSAGES_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_MESSAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/head_plan/head_plan.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/sessions/float_bytes.h"

namespace headwise {

// Limits that both sides know.
inline constexpr int64_t kMaxSessionKvHeads = 256;
inline constexpr int64_t kMaxSessionHeadsPerKvHead = 64;
inline constexpr int64_t kMaxSessionHeadDim = 256;
inline constexpr int64_t kMaxSessionPositions = int64_t{1} << 22;
inline constexpr int64_t kMaxQueryRows = 4096;       // query_len of one Attend
inline constexpr int64_t kMaxChunkPositions = 8192;  // of one Append
inline constexpr int64_t kMaxTopKeys = 64;
inline constexpr int64_t kMaxMassSegments = 256;

struct SessionShape {
  int64_t num_kv_heads = 0;
  int64_t heads_per_kv_head = 0;
  int64_t head_dim = 0;  // a multiple of 16
  KvElement element = KvElement::kFp16;
  FloatType input_type = FloatType::kFp32;
  int64_t max_positions = 0;

  KvLayout layout() const { return {element, head_dim}; }
};

// What a worker holds of one unit.
struct UnitShare {
  int64_t kv_head = 0;
  // Indices of ranges, ascending; empty: all of them, as units have that are
  // not full.
  std::vector<int32_t> ranges;
  // At true positions. kRazor: nothing is prompt.
  UnitPolicy policy;

  bool is_full() const { return policy.kind == PolicyKind::kFull; }
  bool is_whole() const { return ranges.empty(); }
};

// Whether what a query sees is not told by spans of positions alone, so that
// PolicyAttention works it out.
constexpr bool AttendsByPolicy(const UnitPolicy& policy) {
  return policy.kind != PolicyKind::kFull &&
         policy.kind != PolicyKind::kStreaming;
}

struct OpenPartRequest {
  std::string session_id;
  SessionShape shape;
  std::vector<UnitShare> units;  // by kv_head, ascending
};

// Keys and values of one unit for positions of one range.
struct StagePiece {
  int64_t kv_head = 0;
  int64_t first_position = 0;
  int64_t num_positions = 0;
  std::string keys;    // [num_positions][head_dim] of input_type
  std::string values;  // likewise
};

struct StageRequest {
  std::string session_id;
  int64_t length = 0;  // positions stored so far; every piece lies beyond
  std::vector<StagePiece> pieces;
};

// Query rows of one unit, fp32, multiplied by softmax_scale.
struct UnitQueries {
  int64_t kv_head = 0;
  std::vector<float> queries;  // [num_rows][heads_per_kv_head][head_dim]
};

struct AttendPartRequest {
  std::string session_id;
  int64_t length = 0;  // positions stored
  // Row r sees positions below visible_end[r], as far as the unit's window
  // reaches; never descending, each in [0, length].
  std::vector<int64_t> visible_end;  // [num_rows]
  std::vector<UnitQueries> units;
};

// Attention over one range; or, if first_range is 0, over all the ranges that
// this worker holds from the beginning of the context on without a gap, merged
// in order.
struct RangePartial {
  int32_t first_range = 0;
  std::vector<float> out;  // [num_rows][heads_per_kv_head][head_dim]
  std::vector<float> lse;  // [num_rows][heads_per_kv_head]
};

struct UnitPartials {
  int64_t kv_head = 0;
  std::vector<RangePartial> parts;  // by first_range, ascending
};

struct AttendPartResult {
  std::vector<UnitPartials> units;  // as in the request
};

// What queries look at, once their log-sum-exp over all positions is known.
struct ProbeUnit {
  UnitQueries queries;
  std::vector<float> lse;  // [num_rows][heads_per_kv_head]
};

struct ProbePartRequest {
  std::string session_id;
  int64_t length = 0;
  std::vector<int64_t> visible_end;  // as above
  std::vector<ProbeUnit> units;
  int64_t num_top_keys = 0;             // 0 to kMaxTopKeys
  std::vector<int64_t> segment_bounds;  // ascending; empty: no masses
  bool entropy = false;

  int64_t num_segments() const {
    return segment_bounds.empty()
               ? 0
               : static_cast<int64_t>(segment_bounds.size()) - 1;
  }
};

struct TopKey {
  int64_t position = -1;
  float prob = 0.0f;
};

// Sums are integers, so it does not matter who adds first.
inline constexpr double kMassUnit = 0x1p-60;
inline constexpr double kEntropyUnit = 0x1p-56;

struct UnitProbe {
  int64_t kv_head = 0;
  // A row is a (query, head of the unit) pair.
  std::vector<TopKey> top;    // [rows][num_top_keys], the most probable first
  std::vector<int64_t> mass;  // [rows][num_segments], in kMassUnit
  std::vector<int64_t> entropy;  // [rows], of natural logs, in kEntropyUnit
};

struct ProbePartResult {
  std::vector<UnitProbe> units;  // as in the request
};

// Blocks of a unit, as they lie in memory (KvLayout); or, if num_blocks is 0,
// what a kRazor unit remembers of dropped positions: their end as an int64,
// then the sums of their keys and of their values, [2][head_dim] doubles,
// little-endian.
struct BlockRun {
  int64_t kv_head = 0;
  int64_t first_block = 0;  // block b: positions [64 b, 64 b + 64)
  int64_t num_blocks = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_MESSAGES_H_
