// One step of a group, as its coordinator makes it and its workers run it:
// plain structs, no protobuf.

#ifndef HEADWISE_WORKER_STEP_STEP_H_
#define HEADWISE_WORKER_STEP_STEP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/sha256.h"
#include "model/head_plan/head_plan.h"

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

// A plan under the number that slices name it by. Immutable and shared.
struct NumberedPlan {
  uint64_t plan_id = 0;  // not 0, which is the default plan: every unit full
  std::shared_ptr<const HeadPlan> plan;
};

// A new sequence that shares the first `length` positions of another one, under
// a plan of its own: calibration runs one prefix under many plans. Refused if
// the other has dropped what the new plan needs, or stores it otherwise.
struct Fork {
  uint64_t sequence_id = 0;
  uint64_t from_sequence_id = 0;
  int64_t length = 0;      // positions, at most the other's
  uint64_t plan_id = 0;    // of the new sequence; 0: the default plan
  int64_t prompt_len = 0;  // of the new sequence, as in its slices
};

// What a rank does with its part of a sequence and with the file of it.
// Parking is kWrite, then, once every rank has written, kUnload; taking it up
// again is kRead, then kErase. Undone by kErase and by kUnload.
enum class ParkAction {
  kWrite,   // memory to file; the memory stays
  kUnload,  // the memory goes, the file stays
  kRead,    // file to memory; the file stays
  kErase,   // the file goes, the memory stays
};
inline constexpr int kNumParkActions = 4;

struct ParkRequest {
  uint64_t sequence_id = 0;
  ParkAction action = ParkAction::kWrite;
  uint64_t plan_id = 0;  // kRead: what the sequence ran under
};
inline constexpr int kMaxParks = 64;  // in a step

// What became of one of them; the others and the slices don't depend on it.
struct ParkOutcome {
  absl::Status status;
  int64_t bytes = 0;  // of the file; kWrite
  // Where the outcomes of all ranks became one: of each rank's file.
  std::vector<int64_t> rank_bytes;
};

// What to tell of attention, per row of a slice, layer and query head.
struct ProbeRequest {
  bool argmax = false;  // position of the greatest score, first of equals
  // For each set: the sum of the probabilities at t - distance, over the
  // distances of the set that are in [0, t].
  std::vector<std::vector<int64_t>> distance_sets;

  bool empty() const { return !argmax && distance_sets.empty(); }
};
inline constexpr int kMaxDistanceSets = 4;
inline constexpr int kMaxDistancesPerSet = 64;
// Of the answers of one step, so that a message holds them.
inline constexpr int64_t kMaxProbeBytes = int64_t{32} << 20;

// Of the answer for each row of a slice; `num_heads` over all layers.
inline int64_t ProbeBytesPerRow(const ProbeRequest& probe, int64_t num_heads) {
  const auto sets = static_cast<int64_t>(probe.distance_sets.size());
  return num_heads * 4 * ((probe.argmax ? 2 : 0) + sets);
}

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
  // Only looked at in the first slice of a sequence that is no fork.
  uint64_t plan_id = 0;    // 0: the default plan
  int64_t prompt_len = 0;  // positions; 0: unknown, everything is prompt
  // In every slice of a sequence, or in none: its rows also run under this
  // plan, as a sequence of their own would, and are scored twice. What lies
  // below the first layer in which the plans differ runs once. 0: no.
  uint64_t contrast_plan_id = 0;
  ProbeRequest probe;

  int64_t num_rows() const {
    return use_last_sample ? 1 : static_cast<int64_t>(tokens.size());
  }
};

// Of one step; the plans also of those that a group keeps at one time.
inline constexpr int kMaxPlans = 64;
inline constexpr int kMaxForks = 4096;

// Applied in this order: frees, dropped plans, plans, parks, forks, slices.
// A free takes the file of a parked sequence with it.
struct Step {
  uint64_t step_id = 0;
  std::vector<Slice> slices;
  std::vector<uint64_t> free_sequence_ids;
  // Kept until they are dropped. After a step that failed the same may be kept
  // again, and what is unknown dropped. A sequence keeps its own.
  std::vector<NumberedPlan> plans;
  std::vector<uint64_t> drop_plan_ids;
  std::vector<Fork> forks;
  // A step takes as long as its files do: a coordinator sends them alone.
  std::vector<ParkRequest> parks;
};

struct RankedToken {
  int32_t token = 0;
  float logprob = 0.0f;
};

// What one query head attended to, for the rows of a slice. Every head of every
// layer has one, masked or not.
struct HeadProbe {
  int32_t layer = 0;
  int32_t head = 0;                   // query head within the layer
  std::vector<int32_t> argmax;        // [rows] positions, or empty
  std::vector<float> argmax_prob;     // [rows] or empty
  std::vector<float> distance_probs;  // [sets, rows]
};

struct SliceResult {
  uint64_t sequence_id = 0;
  bool has_token = false;
  int32_t token = 0;
  float logprob = 0.0f;
  std::vector<RankedToken> top;              // best first
  std::vector<float> score_logprobs;         // [rows]
  std::vector<float> contrast_logprobs;      // [rows], under the contrast plan
  std::vector<Sha256Digest> logits_digests;  // [rows]
  std::vector<float> hidden;                 // [rows, model_dim]
  std::vector<HeadProbe> probes;             // by layer, then by head
};

struct StepResult {
  uint64_t step_id = 0;
  // One per slice. Of rank 0; other ranks send theirs, with nothing but probes
  // of their own heads, if a slice of the step asks for probes.
  std::vector<SliceResult> results;
  // One per park, of this rank.
  std::vector<ParkOutcome> parks;
  double compute_seconds = 0.0;
  double collective_seconds = 0.0;  // inside collectives: waiting and transfer
  // Of them: for peers that had not come; -1: the transport can't tell.
  double wait_seconds = -1.0;
  // DrawsDigest of this rank's own results: equal on all ranks.
  uint64_t draws_digest = 0;
  int64_t collective_bytes = 0;
  int64_t num_collectives = 0;
};

// One rank's answer to one step.
struct StepAnswer {
  uint64_t membership_epoch = 0;
  uint64_t step_id = 0;
  absl::StatusOr<StepResult> result;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_STEP_H_
