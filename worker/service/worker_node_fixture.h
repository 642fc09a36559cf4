// What the tests of WorkerNode share: a node without kernels, and its calls.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_NODE_FIXTURE_H_
#define HEADWISE_WORKER_SERVICE_WORKER_NODE_FIXTURE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "worker/service/fake_executor.h"
#include "worker/service/in_process_rendezvous.h"
#include "worker/service/worker_node.h"

namespace headwise {

// Waits for the one call of a callback.
template <typename T>
class Reply {
 public:
  std::function<void(T)> Callback() {
    return [state = state_](T value) {
      state->value = std::move(value);
      state->called.Notify();  // a second call would abort
    };
  }
  T Wait() {
    state_->called.WaitForNotification();
    return state_->value;
  }
  bool called() const { return state_->called.HasBeenNotified(); }

 private:
  struct State {
    absl::Notification called;
    T value = absl::UnknownError("no reply");
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

inline WorkerConfig Config(uint64_t epoch, int rank = 0, int world_size = 1) {
  WorkerConfig config;
  config.membership_epoch = epoch;
  config.model_path = "model";
  config.rank = rank;
  config.world_size = world_size;
  config.shard = WholeShard();
  if (rank != 0) config.shard.vocab_tiles = {};
  config.group = GroupChoice::kInProcess;
  // Far beyond the limit of a test: who waits for it fails.
  config.group_timeout = absl::Minutes(10);
  config.kv_capacity_bytes = 1 << 20;
  config.max_step_tokens = 16;
  return config;
}

inline Step OneRow(uint64_t step_id) {
  Step step;
  step.step_id = step_id;
  step.slices.resize(1);
  step.slices[0].sequence_id = 3;
  step.slices[0].tokens = {1};
  step.slices[0].sample = true;
  return step;
}

class WorkerNodeTest : public testing::Test {
 protected:
  WorkerNodeOptions Options() {
    WorkerNodeOptions options;
    options.open_model = [this](const std::string& path) {
      opened_.push_back(path);
      return std::make_shared<const FakeModel>();
    };
    options.create_executor = [this](const Model&, Shard,
                                     const ExecutorOptions&,
                                     std::function<bool(double)> progress)
        -> absl::StatusOr<std::unique_ptr<Executor>> {
      progress(0.5);
      ++num_executors_;
      return std::make_unique<FakeExecutor>(on_run_);
    };
    options.prepare_group = [this](GroupChoice, const GroupSpec& spec) {
      return rendezvous_.Prepare(spec);
    };
    return options;
  }

  std::unique_ptr<WorkerNode> MakeNode() {
    return std::make_unique<WorkerNode>(Options());
  }

  static absl::StatusOr<PreparedShard> Prepare(WorkerNode& node,
                                               const WorkerConfig& config) {
    Reply<absl::StatusOr<PreparedShard>> reply;
    const absl::Status started =
        node.Prepare(config, nullptr, reply.Callback());
    return started.ok() ? reply.Wait() : started;
  }

  static absl::Status Join(WorkerNode& node, uint64_t epoch,
                           const std::vector<std::string>& endpoints) {
    Reply<absl::Status> reply;
    const absl::Status started = node.Join(epoch, endpoints, reply.Callback());
    return started.ok() ? reply.Wait() : started;
  }

  static absl::StatusOr<StepResult> Run(WorkerNode& node, uint64_t epoch,
                                        const Step& step) {
    Reply<absl::StatusOr<StepResult>> reply;
    const absl::Status started = node.RunStep(epoch, step, reply.Callback());
    return started.ok() ? reply.Wait() : started;
  }

  // A group of one that has joined under `epoch`.
  static void Form(WorkerNode& node, uint64_t epoch) {
    const auto prepared = Prepare(node, Config(epoch));
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    ASSERT_TRUE(Join(node, epoch, {prepared->endpoint}).ok());
    ASSERT_TRUE(node.ClaimSteps(epoch).ok());
  }

  InProcessRendezvous rendezvous_;
  std::vector<std::string> opened_;  // of the engine thread, read when idle
  std::atomic<int> num_executors_ = 0;
  FakeExecutor::OnRun on_run_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_NODE_FIXTURE_H_
