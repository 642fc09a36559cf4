// For tests: the workers' books and a model whose every output is a hash of the
// sequence's tokens.

#ifndef HEADWISE_SERVER_SCHEDULER_MODEL_WORKERS_H_
#define HEADWISE_SERVER_SCHEDULER_MODEL_WORKERS_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/kv_needs.h"

namespace headwise {

// One unit of 100 bytes per position.
inline constexpr KvGeometry kTinyKv = {
    .num_layers = 1, .num_kv_heads = 1, .head_dim = 25};

inline KvCapacity CapacityOf(int64_t positions) {
  return {.unit_rank = {0}, .rank_bytes = {100 * positions}};
}

// What a sequence has behind it, and what its model's outputs depend on beside
// its tokens: the plans that it and its prefixes ran under.
struct ModelPast {
  std::vector<int32_t> tokens;
  uint64_t tag = 1;
};
// The past of what runs under `plan` (null: the default) after a prefix; as the
// prefix's own if it ran under that too, in however many pieces.
uint64_t TagUnder(uint64_t prefix_tag, const HeadPlan* plan);

// What a request must hear whoever runs beside it, computed without a
// scheduler.
struct ExpectedAnswer {
  std::vector<int32_t> tokens;                          // kGenerate
  std::vector<float> score_logprobs;                    // kScore, [prompt]
  std::vector<std::array<uint8_t, 32>> logits_digests;  // kScore, [prompt]
  std::vector<float> hidden;                            // kEmbed, [prompt, 2]
};
ExpectedAnswer ExpectedAnswerOf(const EngineRequest& request,
                                const ModelPast& prefix = {});

// Refuses, changing nothing, whatever a real worker would refuse:
// InvalidArgument for a gap in step ids, a free of an unknown sequence, a wrong
// position, two slices of one sequence, a last sample or a plan that is not
// there, or a fork that needs dropped blocks; ResourceExhausted beyond the
// capacity of a rank, blocks that forks share counted once. Not thread-safe.
class ModelWorkers {
 public:
  ModelWorkers(const KvGeometry& geometry, KvCapacity capacity);

  absl::StatusOr<StepResult> Execute(const Step& step);
  // The step is lost before it is run; its id is spent.
  void SkipStep() { ++last_step_id_; }

  int64_t num_sequences() const {
    return static_cast<int64_t>(sequences_.size());
  }
  int64_t num_files() const { return static_cast<int64_t>(files_.size()); }
  int64_t num_plans() const { return static_cast<int64_t>(plans_.size()); }

 private:
  using PlanPointer = std::shared_ptr<const HeadPlan>;
  using Plans = std::map<uint64_t, PlanPointer>;
  struct Block {
    uint64_t counted = 0;  // by which count of bytes
  };
  struct ModelSequence {
    ModelPast past;
    std::optional<int32_t> last_sample;  // of its latest slice
    PlanPointer plan;
    PlanPointer contrast_plan;  // its KV is not counted
    int64_t prompt_len = 0;
    // [units][blocks]; null: dropped.
    std::vector<std::vector<std::shared_ptr<Block>>> tables;
  };
  using Books = std::map<uint64_t, ModelSequence>;

  const UnitPolicy& PolicyOf(const ModelSequence& sequence, size_t unit) const;
  static absl::Status KeepPlans(const Step& step, Plans& plans);
  absl::Status MakeFork(const Fork& fork, const Plans& plans,
                        Books& books) const;
  absl::Status Append(const Slice& slice, const Plans& plans,
                      Books& books) const;
  void Trim(ModelSequence& sequence) const;
  static ParkOutcome ApplyPark(const ParkRequest& park, Books& books,
                               Books& files);
  absl::Status CheckRoom(const Books& books);
  static SliceResult Answer(const Slice& slice, ModelSequence& sequence);

  const KvGeometry geometry_;
  const KvCapacity capacity_;
  uint64_t last_step_id_ = 0;
  uint64_t num_counts_ = 0;
  Plans plans_;
  Books sequences_;
  Books files_;  // of parked sequences
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_MODEL_WORKERS_H_
