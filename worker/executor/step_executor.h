// Runs steps on whatever engine: books, batches, samples, results.

#ifndef HEADWISE_WORKER_EXECUTOR_STEP_EXECUTOR_H_
#define HEADWISE_WORKER_EXECUTOR_STEP_EXECUTOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "model/model.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/executor/executor.h"
#include "worker/executor/parked_files.h"
#include "worker/executor/sequences.h"
#include "worker/executor/step_engine.h"
#include "worker/executor/vocab_head.h"

namespace headwise {

struct StepExecutorParts {
  const Model* model = nullptr;      // outlives the executor
  const Kernels* kernels = nullptr;  // of the CPU, for samples and scores
  std::unique_ptr<ThreadTeam> team;
  std::unique_ptr<StepEngine> engine;  // may refer to *team
  SequencesOptions sequences;
  std::string park_dir;
  std::vector<int> vocab_tiles;      // of this rank
  std::vector<int> vocab_tile_rank;  // [num_vocab_tiles]
};

class StepExecutor final : public Executor {
 public:
  explicit StepExecutor(StepExecutorParts parts);

  void SetGroup(Group* group) override { group_ = group; }
  absl::StatusOr<StepResult> Run(const Step& step) override;
  absl::Status CheckWeights(int64_t max_bytes) override {
    return engine_->CheckWeights(max_bytes);
  }

  int64_t weight_bytes() const override { return engine_->weight_bytes(); }
  int64_t loaded_weight_bytes() const override {
    return engine_->loaded_weight_bytes();
  }
  int64_t kv_capacity_blocks() const override {
    return sequences_.book().capacity_bytes() / block_bytes_;
  }
  int64_t kv_blocks_used() const override {
    return sequences_.book().used_bytes() / block_bytes_;
  }
  int64_t kv_bytes_used() const override {
    return sequences_.book().used_bytes();
  }

 private:
  // Plans, forks and checks: all that may refuse a step; and its parks.
  absl::Status Admit(const Step& step, std::vector<ParkOutcome>* parks);
  // One batch for each of the first lanes.
  absl::Status RunBatches(const Step& step, absl::Span<const RowBatch> batches,
                          StepResult* result);
  // Batches of one first layer, each on a lane of its own.
  absl::Status RunLanes(const Step& step,
                        absl::Span<const RowBatch* const> batches,
                        absl::Span<const PieceStates> pieces,
                        StepResult* result);
  absl::Status FinishBatch(const Step& step, const RowBatch& batch,
                           int64_t lane, StepResult* result);
  // Where in the result a row that the vocabulary head ran belongs.
  struct RowPlace {
    int64_t slice;
    int64_t slice_row;
    bool is_contrast;
  };
  void WantRows(const Step& step, const RowBatch& batch,
                std::vector<VocabRow>* rows, std::vector<RowPlace>* places);
  void KeepResults(const Step& step, const std::vector<RowPlace>& places,
                   StepResult* result);
  void SampleRow(const Slice& slice, int64_t logits_row, SliceResult* result);
  absl::Status KeepHidden(const Step& step, const RowBatch& batch, int64_t lane,
                          StepResult* result);

  const Model& model_;
  const Kernels& kernels_;
  const std::vector<float> output_norm_;  // [model_dim]
  const int64_t block_bytes_;             // of the default type
  const std::unique_ptr<ThreadTeam> team_;
  const std::unique_ptr<StepEngine> engine_;
  const SequencesOptions sequences_options_;
  Sequences sequences_;
  ParkedFiles parked_;
  VocabHead vocab_;
  Group* group_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_STEP_EXECUTOR_H_
