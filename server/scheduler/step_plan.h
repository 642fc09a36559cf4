// What the scheduler asks of the workers in one step, and what comes back.

#ifndef HEADWISE_SERVER_SCHEDULER_STEP_PLAN_H_
#define HEADWISE_SERVER_SCHEDULER_STEP_PLAN_H_

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headwise {

// Mirrors headwise.v1.SamplingOptions with its defaults resolved.
struct SamplingPlan {
  float temperature = 0.0f;         // >= 0; 0: the most probable token
  int32_t top_k = 0;                // 0: all
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1)
  float repetition_penalty = 1.0f;  // > 0
  uint64_t seed = 0;
  int32_t top_logprobs = 0;  // 0 to 20
  bool logprobs = false;
};

// New tokens of one sequence: rows [first_position, first_position + rows).
struct SlicePlan {
  uint64_t sequence_id = 0;
  int64_t first_position = 0;
  std::vector<int32_t> tokens;
  // One row, whose token is the one that this sequence's previous slice
  // sampled: so that a step can be sent before the one ahead of it has come
  // back.
  bool use_last_sample = false;
  bool sample = false;
  SamplingPlan sampling;
  std::vector<int32_t> score_targets;  // [rows] or empty; -1: none
  bool hash_logits = false;
  bool embed = false;

  int64_t num_rows() const {
    return use_last_sample ? 1 : static_cast<int64_t>(tokens.size());
  }
};

struct StepPlan {
  uint64_t step_id = 0;  // counts up by 1 within a membership epoch
  std::vector<SlicePlan> slices;
  std::vector<uint64_t> free_sequence_ids;  // freed before the slices run
};

struct RankedTokenResult {
  int32_t token = 0;
  float logprob = 0.0f;  // natural log
};

struct SliceOutcome {
  uint64_t sequence_id = 0;
  bool has_token = false;
  int32_t token = 0;
  float logprob = 0.0f;
  std::vector<RankedTokenResult> top;                   // best first
  std::vector<float> score_logprobs;                    // [rows]
  std::vector<std::array<uint8_t, 32>> logits_digests;  // [rows]
  std::vector<float> hidden;                            // [rows, model_dim]
};

struct StepOutcome {
  uint64_t step_id = 0;
  std::vector<SliceOutcome> slices;  // in the plan's order
};

// Sends steps to all ranks. Implemented by server/dispatch (gRPC) and by the
// embedded cluster (same process).
class Dispatcher {
 public:
  virtual ~Dispatcher() = default;

  // Takes the plan. Calls `done` exactly once, from any thread, never from
  // within Submit: with the outcome; with the executor's InvalidArgument or
  // ResourceExhausted (nothing was changed); with OutOfRange if a value was not
  // finite or too large (the plan's sequences hold garbage); or with
  // Unavailable when the group is lost, after which every Submit fails so until
  // a new group stands and all sequences are gone from the workers. At most
  // kMaxStepsInFlight plans may be unanswered. Thread-safe.
  virtual void Submit(
      StepPlan plan, std::function<void(absl::StatusOr<StepOutcome>)> done) = 0;
};

// One step runs, the next one waits at the workers: no bubble between them.
inline constexpr int kMaxStepsInFlight = 2;

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_STEP_PLAN_H_
