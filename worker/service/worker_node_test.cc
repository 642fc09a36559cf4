#include "worker/service/worker_node.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/service/fake_executor.h"
#include "worker/service/in_process_rendezvous.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

WorkerConfig Config(uint64_t epoch, int rank = 0, int world_size = 1) {
  WorkerConfig config;
  config.membership_epoch = epoch;
  config.model_path = "model";
  config.rank = rank;
  config.world_size = world_size;
  config.shard = WholeShard();
  if (rank != 0) config.shard.vocab_tiles = {};
  config.group_kind = WorkerGroupKind::kInProcess;
  // Far beyond the limit of a test: who waits for it fails.
  config.group_timeout = absl::Minutes(10);
  config.kv_capacity_bytes = 1 << 20;
  config.max_step_tokens = 16;
  return config;
}

Step OneRow(uint64_t step_id) {
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
                                     std::function<void(double)> progress)
        -> absl::StatusOr<std::unique_ptr<Executor>> {
      progress(0.5);
      ++num_executors_;
      return std::make_unique<FakeExecutor>(on_run_);
    };
    options.prepare_group = [this](WorkerGroupKind, const GroupSpec& spec) {
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

TEST_F(WorkerNodeTest, PreparesJoinsAndRuns) {
  auto node = MakeNode();
  const auto prepared = Prepare(*node, Config(5));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->weight_bytes, 1000);
  EXPECT_EQ(prepared->kv_capacity_blocks, 40);
  EXPECT_EQ(node->ClaimSteps(5).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Run(*node, 5, OneRow(1)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Join(*node, 5, {prepared->endpoint}).ok());
  ASSERT_TRUE(node->ClaimSteps(5).ok());
  EXPECT_EQ(node->ClaimSteps(5).code(), absl::StatusCode::kFailedPrecondition)
      << "a group has one stream of steps";
  const auto result = Run(*node, 5, OneRow(1));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->results.size(), 1u);
  EXPECT_EQ(result->results[0].token, 7);
}

TEST_F(WorkerNodeTest, OtherEpochsAreAborted) {
  auto node = MakeNode();
  Form(*node, 5);
  EXPECT_EQ(Run(*node, 4, OneRow(1)).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Run(*node, 6, OneRow(1)).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Prepare(*node, Config(4)).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(Join(*node, 4, {"x"}).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(node->ClaimSteps(4).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(Run(*node, 5, OneRow(1)).ok()) << "and the group lives on";
}

TEST_F(WorkerNodeTest, ReplacingKeepsTheModelOfAnEqualPath) {
  auto node = MakeNode();
  Form(*node, 1);
  Form(*node, 2);
  EXPECT_THAT(opened_, ElementsAre("model"));
  WorkerConfig other = Config(3);
  other.model_path = "other";
  ASSERT_TRUE(Prepare(*node, other).ok());
  EXPECT_THAT(opened_, ElementsAre("model", "other"));
  EXPECT_EQ(num_executors_, 3);
}

TEST_F(WorkerNodeTest, NewPrepareEndsAStepThatWaitsForAPeer) {
  auto node = MakeNode();
  auto peer = MakeNode();
  const auto a = Prepare(*node, Config(1, 0, 2));
  const auto b = Prepare(*peer, Config(1, 1, 2));
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_TRUE(Join(*node, 1, {a->endpoint, b->endpoint}).ok());
  ASSERT_TRUE(Join(*peer, 1, {a->endpoint, b->endpoint}).ok());
  Reply<absl::StatusOr<StepResult>> step;  // the peer never runs it
  ASSERT_TRUE(node->RunStep(1, OneRow(1), step.Callback()).ok());
  // Ends only if the collective of ten minutes was aborted.
  Form(*node, 2);
  EXPECT_TRUE(step.called());
  EXPECT_FALSE(step.Wait().ok());
  EXPECT_TRUE(Run(*node, 2, OneRow(1)).ok());
}

TEST_F(WorkerNodeTest, AbortGroupReachesThePeer) {
  auto node = MakeNode();
  auto peer = MakeNode();
  const auto a = Prepare(*node, Config(1, 0, 2));
  const auto b = Prepare(*peer, Config(1, 1, 2));
  ASSERT_TRUE(Join(*node, 1, {a->endpoint, b->endpoint}).ok());
  ASSERT_TRUE(Join(*peer, 1, {a->endpoint, b->endpoint}).ok());
  Reply<absl::StatusOr<StepResult>> step;
  ASSERT_TRUE(node->RunStep(1, OneRow(1), step.Callback()).ok());
  peer->AbortGroup(2, absl::UnavailableError("another epoch: no effect"));
  peer->AbortGroup(1, absl::UnavailableError("stream broke"));
  EXPECT_FALSE(step.Wait().ok());
  EXPECT_EQ(Run(*peer, 1, OneRow(1)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(peer->ClaimSteps(1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(WorkerNodeTest, TwoRanksSum) {
  auto node = MakeNode();
  auto peer = MakeNode();
  const auto a = Prepare(*node, Config(1, 0, 2));
  const auto b = Prepare(*peer, Config(1, 1, 2));
  ASSERT_TRUE(Join(*node, 1, {a->endpoint, b->endpoint}).ok());
  ASSERT_TRUE(Join(*peer, 1, {a->endpoint, b->endpoint}).ok());
  Reply<absl::StatusOr<StepResult>> step;
  ASSERT_TRUE(node->RunStep(1, OneRow(1), step.Callback()).ok());
  const auto other = Run(*peer, 1, OneRow(1));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->kv_blocks_used, 2);
  EXPECT_EQ(step.Wait()->kv_blocks_used, 2);
}

TEST_F(WorkerNodeTest, RefusalKeepsTheGroupAndAnErrorEndsIt) {
  std::vector<absl::Status> statuses = {absl::ResourceExhaustedError("blocks"),
                                        absl::OkStatus(),
                                        absl::InternalError("NaN in layer 1")};
  size_t next = 0;
  on_run_ = [&](const Step&) { return statuses[next++]; };
  auto node = MakeNode();
  Form(*node, 1);
  EXPECT_EQ(Run(*node, 1, OneRow(1)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Run(*node, 1, OneRow(2)).ok());
  EXPECT_EQ(Run(*node, 1, OneRow(3)).status().code(),
            absl::StatusCode::kInternal);
  const auto after = Run(*node, 1, OneRow(4));
  EXPECT_THAT(after.status().message(), HasSubstr("NaN in layer 1"));
  EXPECT_EQ(next, 3u) << "the executor must not run again";
}

TEST_F(WorkerNodeTest, StepsMustCountUpByOne) {
  auto node = MakeNode();
  Form(*node, 1);
  EXPECT_TRUE(Run(*node, 1, OneRow(10)).ok());
  EXPECT_EQ(Run(*node, 1, OneRow(12)).status().code(),
            absl::StatusCode::kInternal);
}

TEST_F(WorkerNodeTest, StepOutOfRangeIsRefusedBeforeTheExecutor) {
  on_run_ = [](const Step&) { return absl::InternalError("must not run"); };
  auto node = MakeNode();
  Form(*node, 1);
  Step step = OneRow(1);
  step.slices[0].tokens = {2000};
  EXPECT_EQ(Run(*node, 1, step).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WorkerNodeTest, QueueIsBoundedAndItsCallsAreAnsweredAtTheEnd) {
  absl::Notification running, release;
  on_run_ = [&](const Step&) {
    if (!running.HasBeenNotified()) running.Notify();
    release.WaitForNotification();
    return absl::OkStatus();
  };
  auto node = MakeNode();
  Form(*node, 1);
  std::vector<Reply<absl::StatusOr<StepResult>>> replies(
      WorkerNode::kMaxCommands + 1);
  ASSERT_TRUE(node->RunStep(1, OneRow(1), replies[0].Callback()).ok());
  running.WaitForNotification();
  for (size_t i = 1; i < replies.size(); ++i) {
    ASSERT_TRUE(node->RunStep(1, OneRow(1 + i), replies[i].Callback()).ok());
  }
  EXPECT_EQ(node->RunStep(1, OneRow(99), nullptr).code(),
            absl::StatusCode::kResourceExhausted);
  std::thread end([&] { node.reset(); });
  release.Notify();
  end.join();
  for (auto& reply : replies) EXPECT_TRUE(reply.called());
}

TEST_F(WorkerNodeTest, WrongDigestOrTooLittleMemoryIsRefused) {
  auto node = MakeNode();
  WorkerConfig config = Config(1);
  config.model_sha256 = std::string(64, 'b');
  EXPECT_EQ(Prepare(*node, config).status().code(),
            absl::StatusCode::kFailedPrecondition);
  config.model_sha256 = std::string(64, 'A');  // case does not matter
  EXPECT_TRUE(Prepare(*node, config).ok());

  WorkerNodeOptions small = Options();
  small.memory_bytes = 1000 + (1 << 20) - 1;
  WorkerNode tight(small);
  EXPECT_EQ(Prepare(tight, Config(1)).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(WorkerNodeTest, PathsAreConfinedToTheModelRoot) {
  char folder[] = "/tmp/headwise-root-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string base = folder;
  ASSERT_EQ(mkdir((base + "/root").c_str(), 0700), 0);
  std::ofstream(base + "/root/in.gguf") << "x";
  std::ofstream(base + "/out.gguf") << "x";
  ASSERT_EQ(symlink("../out.gguf", (base + "/root/link.gguf").c_str()), 0);
  WorkerNodeOptions options = Options();
  options.model_root = base + "/root";
  WorkerNode node(options);
  const auto code = [&](const std::string& path) {
    static uint64_t epoch = 0;
    WorkerConfig config = Config(++epoch);
    config.model_path = path;
    return Prepare(node, config).status().code();
  };
  EXPECT_EQ(code("in.gguf"), absl::StatusCode::kOk);
  EXPECT_EQ(code(base + "/root/in.gguf"), absl::StatusCode::kOk);
  EXPECT_EQ(code("../out.gguf"), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(base + "/out.gguf"), absl::StatusCode::kNotFound);
  EXPECT_EQ(code("link.gguf"), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(base + "/root/../root-of-another"),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(code("/etc/passwd"), absl::StatusCode::kNotFound);
  for (const char* path :
       {"/root/link.gguf", "/root/in.gguf", "/root", "/out.gguf", ""}) {
    EXPECT_EQ(remove((base + path).c_str()), 0) << path;
  }
}

}  // namespace
}  // namespace headwise
