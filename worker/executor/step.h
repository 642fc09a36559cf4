// One step, as the executor sees it: plain structs, no protobuf.

#ifndef HEADWISE_WORKER_EXECUTOR_STEP_H_
#define HEADWISE_WORKER_EXECUTOR_STEP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/sha256.h"

namespace headwise {

// Applied in this order: repetition_penalty, temperature, top_k, top_p, min_p.
struct SamplingOptions {
  float temperature = 0.0f;         // >= 0; 0: the most probable token
  int32_t top_k = 0;                // 0: all
  float top_p = 1.0f;               // (0, 1]; 1: all
  float min_p = 0.0f;               // [0, 1); 0: all
  float repetition_penalty = 1.0f;  // > 0; 1: none
  uint64_t seed = 0;
  int32_t top_logprobs = 0;  // alternatives to return, 0 to 20
  bool logprobs = false;
};

// New tokens of one sequence: rows [first_position, first_position + rows).
struct Slice {
  uint64_t sequence_id = 0;
  int64_t first_position = 0;
  std::vector<int32_t> tokens;
  // One row, whose token is the one that this sequence's previous slice
  // sampled; `tokens` is empty.
  bool use_last_sample = false;
  bool sample = false;  // draw a token after the last row
  SamplingOptions sampling;
  std::vector<int32_t> score_targets;  // [rows] or empty; -1: none
  bool hash_logits = false;
  bool embed = false;

  int64_t num_rows() const {
    return use_last_sample ? 1 : static_cast<int64_t>(tokens.size());
  }
};

struct Step {
  uint64_t step_id = 0;
  std::vector<Slice> slices;
  std::vector<uint64_t> free_sequence_ids;  // freed before the slices run
};

struct RankedToken {
  int32_t token = 0;
  float logprob = 0.0f;
};

struct SliceResult {
  uint64_t sequence_id = 0;
  bool has_token = false;
  int32_t token = 0;
  float logprob = 0.0f;
  std::vector<RankedToken> top;              // best first
  std::vector<float> score_logprobs;         // [rows]
  std::vector<Sha256Digest> logits_digests;  // [rows]
  std::vector<float> hidden;                 // [rows, model_dim]
};

struct StepResult {
  uint64_t step_id = 0;
  std::vector<SliceResult> results;  // rank 0 only; one per slice
  double compute_seconds = 0.0;
  double collective_seconds = 0.0;
  int64_t collective_bytes = 0;
  int64_t num_collectives = 0;
  int64_t kv_blocks_used = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_STEP_H_
