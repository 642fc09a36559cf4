// What calibrations ask of a model that is served.

#ifndef HEADWISE_SERVER_CALIBRATION_MODEL_RUNNER_H_
#define HEADWISE_SERVER_CALIBRATION_MODEL_RUNNER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/head_plan/head_plan.h"
#include "worker/step/step.h"

namespace headwise {

struct ModelFacts {
  std::string sha256;  // 64 hexadecimal digits
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t max_context_len = 0;  // tokens of one sequence that can be run

  int64_t all_heads() const { return num_layers * num_heads; }
  int64_t all_units() const { return num_layers * num_kv_heads; }
};

// Tokens that are run after a held prefix, or as a sequence of their own.
struct Continuation {
  enum class Want {
    kLogprobs,  // of each token but the first, given those before it
    kHidden,    // the state after the final norm, of each token
    kTokens,    // `num_tokens` of greedy generation
  };

  uint64_t prefix = 0;          // of ModelRunner::Hold; 0: none
  std::vector<int32_t> tokens;  // 1 or more
  // Of the rows that are run now; the prefix was run under its own. Null: every
  // unit full.
  std::shared_ptr<const HeadPlan> plan;
  Want want = Want::kLogprobs;
  int64_t num_tokens = 0;  // kTokens: 1 or more
  ProbeRequest probe;
};

struct ContinuationResult {
  std::vector<float> logprobs;     // kLogprobs: [tokens - 1], natural log
  std::vector<float> hidden;       // kHidden: [tokens, model_dim]
  std::vector<int32_t> generated;  // kTokens
  // By layer, then by head, of all rows of `tokens`; positions count from the
  // begin of the sequence, a prefix included. Empty if not asked for.
  std::vector<HeadProbe> probes;
};

// Not thread-safe; calls block. Cancelled once the calibration was.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  virtual const ModelFacts& facts() const = 0;

  // Runs `tokens` with every unit full and keeps what they leave in the caches
  // until Release. The id is not 0.
  virtual absl::StatusOr<uint64_t> Hold(absl::Span<const int32_t> tokens) = 0;
  virtual void Release(uint64_t prefix) = 0;

  // Results in the order of `work`. Continuations run together, in as few steps
  // as they fit into: give many.
  virtual absl::StatusOr<std::vector<ContinuationResult>> Run(
      std::vector<Continuation> work) = 0;
};

// A prefix that is released when this goes.
class ScopedPrefix {
 public:
  static absl::StatusOr<ScopedPrefix> Create(ModelRunner& runner,
                                             absl::Span<const int32_t> tokens) {
    absl::StatusOr<uint64_t> id = runner.Hold(tokens);
    if (!id.ok()) return id.status();
    return ScopedPrefix(runner, *id);
  }
  ~ScopedPrefix() {
    if (id_ != 0) runner_->Release(id_);
  }
  ScopedPrefix(ScopedPrefix&& other) noexcept
      : runner_(other.runner_), id_(other.id_) {
    other.id_ = 0;
  }
  ScopedPrefix& operator=(ScopedPrefix&&) = delete;

  uint64_t id() const { return id_; }

 private:
  ScopedPrefix(ModelRunner& runner, uint64_t id) : runner_(&runner), id_(id) {}
  ModelRunner* runner_;
  uint64_t id_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_MODEL_RUNNER_H_
