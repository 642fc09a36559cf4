// For tests: the workers' books and a model whose every output is a hash of the
// sequence's tokens.

#ifndef HEADWISE_SERVER_SCHEDULER_MODEL_WORKERS_H_
#define HEADWISE_SERVER_SCHEDULER_MODEL_WORKERS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/engine.h"

namespace headwise {

// What a request must hear whoever runs beside it, computed without a
// scheduler.
struct ExpectedAnswer {
  std::vector<int32_t> tokens;                          // kGenerate
  std::vector<float> score_logprobs;                    // kScore, [prompt]
  std::vector<std::array<uint8_t, 32>> logits_digests;  // kScore, [prompt]
  std::vector<float> hidden;                            // kEmbed, [prompt, 2]
};
ExpectedAnswer ExpectedAnswerOf(const EngineRequest& request);

// Refuses, changing nothing, whatever a real worker would refuse:
// InvalidArgument for a gap in step ids, a free of an unknown sequence, a wrong
// position, two slices of one sequence, or a last sample that is not there;
// ResourceExhausted beyond the capacity. Not thread-safe.
class ModelWorkers {
 public:
  explicit ModelWorkers(int64_t capacity_tokens);

  absl::StatusOr<StepResult> Execute(const Step& step);
  // The step is lost before it is run; its id is spent.
  void SkipStep() { ++last_step_id_; }

  int64_t num_sequences() const {
    return static_cast<int64_t>(sequences_.size());
  }
  // In whole blocks.
  int64_t used_tokens() const;

 private:
  struct ModelSequence {
    std::vector<int32_t> tokens;
    std::optional<int32_t> last_sample;  // of its latest slice
  };
  using Books = std::map<uint64_t, ModelSequence>;

  static absl::Status Append(const Slice& slice, Books& books);
  static SliceResult Answer(const Slice& slice, ModelSequence& sequence);
  static int64_t UsedTokens(const Books& books);

  int64_t capacity_tokens_;
  uint64_t last_step_id_ = 0;
  Books sequences_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_MODEL_WORKERS_H_
