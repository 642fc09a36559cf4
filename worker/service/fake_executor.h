// A model without weights and an executor without kernels, for tests.

#ifndef HEADWISE_WORKER_SERVICE_FAKE_EXECUTOR_H_
#define HEADWISE_WORKER_SERVICE_FAKE_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/files/test_stub_model.h"
#include "worker/executor/executor.h"

namespace headwise {

// Two layers of two units, 8 MLP tiles and 2 vocabulary tiles.
class FakeModel final : public StubModel {
 public:
  // The digest is 64 times `digit`.
  explicit FakeModel(char digit = 'a') {
    sha256_ = std::string(64, digit);
    hyper_.num_layers = 2;
    hyper_.num_heads = 4;
    hyper_.num_kv_heads = 2;
    hyper_.head_dim = 8;
    hyper_.model_dim = 32;
    hyper_.ffn_dim = 512;
    hyper_.vocab_size = 2000;
    hyper_.max_context_len = 512;
  }
};

// The whole of FakeModel on rank 0 of `world_size`.
inline Shard WholeShard() {
  Shard shard;
  for (int layer = 0; layer < 2; ++layer) {
    shard.layers.push_back({{0, 1}, {0, 1, 2, 3, 4, 5, 6, 7}});
  }
  shard.vocab_tiles = {0, 1};
  shard.vocab_tile_rank = {0, 0};
  return shard;
}

// Adds 1 over all ranks in each step, so that it waits for its peers as the
// real one does; `on_run` decides what comes of it.
class FakeExecutor final : public Executor {
 public:
  using OnRun = std::function<absl::Status(const Step&)>;
  explicit FakeExecutor(OnRun on_run) : on_run_(std::move(on_run)) {}

  void SetGroup(Group* group) override { group_ = group; }

  absl::StatusOr<StepResult> Run(const Step& step) override {
    if (on_run_) HEADWISE_RETURN_IF_ERROR(on_run_(step));
    int64_t ranks = 1;
    HEADWISE_RETURN_IF_ERROR(
        group_->AllReduceSum(absl::Span<int64_t>(&ranks, 1)));
    StepResult result;
    result.step_id = step.step_id;
    result.num_collectives = ranks;
    if (group_->rank() == 0) {
      for (const Slice& slice : step.slices) {
        SliceResult outcome;
        outcome.sequence_id = slice.sequence_id;
        outcome.has_token = slice.sample;
        outcome.token = 7;
        result.results.push_back(outcome);
      }
    }
    return result;
  }

  absl::Status CheckWeights(int64_t max_bytes) override {
    return check_weights ? check_weights(max_bytes) : absl::OkStatus();
  }
  std::function<absl::Status(int64_t)> check_weights;

  int64_t weight_bytes() const override { return 1000; }
  int64_t loaded_weight_bytes() const override { return 600; }
  int64_t kv_capacity_blocks() const override { return 40; }
  int64_t kv_blocks_used() const override { return 0; }
  // Whatever was run, so that a test sees when it is read.
  int64_t kv_bytes_used() const override { return 100; }

 private:
  const OnRun on_run_;
  Group* group_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_FAKE_EXECUTOR_H_
