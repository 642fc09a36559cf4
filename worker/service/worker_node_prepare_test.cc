// What WorkerNode makes of an order: which model, how much memory, until when.

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/service/worker_node_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

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

TEST_F(WorkerNodeTest, TellsOperatorsWhatComesOfAGroup) {
  std::vector<std::string> log;  // of the engine thread, read when idle
  WorkerNodeOptions options = Options();
  options.log = [&log](const std::string& line) { log.push_back(line); };
  WorkerNode node(options);
  Form(node, 7);
  EXPECT_THAT(log, ElementsAre("epoch 7: rank 0 of 1 loads its share",
                               StartsWith("epoch 7: rank 0 of 1 may join, "),
                               "epoch 7: rank 0 of 1 has joined"));
  log.clear();
  WorkerConfig config = Config(8);
  config.model_sha256 = std::string(64, 'b');
  EXPECT_FALSE(Prepare(node, config).ok());
  EXPECT_FALSE(Join(node, 8, {}).ok());  // said before this is answered
  EXPECT_THAT(log, ElementsAre(StartsWith("epoch 8: "),
                               StartsWith("epoch 8: rank 0 of 1 did not load: "
                                          "FAILED_PRECONDITION")));
}

TEST_F(WorkerNodeTest, WrongDigestIsRefused) {
  auto node = MakeNode();
  WorkerConfig config = Config(1);
  config.model_sha256 = std::string(64, 'b');
  EXPECT_EQ(Prepare(*node, config).status().code(),
            absl::StatusCode::kFailedPrecondition);
  config.model_sha256 = std::string(64, 'A');  // case does not matter
  EXPECT_TRUE(Prepare(*node, config).ok());
}

// The executor alone knows what packed weights take.
TEST_F(WorkerNodeTest, ExecutorIsToldTheMemoryOfTheWorker) {
  ExecutorOptions told;
  WorkerNodeOptions options = Options();
  options.memory_bytes = 123456;
  options.create_executor = [&](const Model&, Shard,
                                const ExecutorOptions& given,
                                const std::function<bool(double)>&)
      -> absl::StatusOr<std::unique_ptr<Executor>> {
    told = given;
    return std::make_unique<FakeExecutor>(nullptr);
  };
  WorkerNode node(options);
  ASSERT_TRUE(Prepare(node, Config(1)).ok());
  EXPECT_EQ(told.memory_bytes, 123456);
  EXPECT_EQ(told.kv_capacity_bytes, 1 << 20);
}

// So that a group that forms anew loads only what is new to its rank.
TEST_F(WorkerNodeTest, ExecutorsShareWhatWasPackedUntilTheModelChanges) {
  std::vector<HeldWeights*> held;
  std::vector<const ShardWeights*> weights;
  WorkerNodeOptions options = Options();
  options.create_executor = [&](const Model&, Shard,
                                const ExecutorOptions& given,
                                const std::function<bool(double)>&)
      -> absl::StatusOr<std::unique_ptr<Executor>> {
    held.push_back(given.held);
    weights.push_back(given.held->weights());
    return std::make_unique<FakeExecutor>(nullptr);
  };
  WorkerNode node(options);
  ASSERT_TRUE(Prepare(node, Config(1)).ok());
  const auto prepared = Prepare(node, Config(2));
  ASSERT_TRUE(prepared.ok());
  EXPECT_EQ(prepared->loaded_weight_bytes, 600) << "as its executor says";
  EXPECT_EQ(weights[0], weights[1]);
  WorkerConfig other = Config(3);
  other.model_path = "other";
  ASSERT_TRUE(Prepare(node, other).ok());
  EXPECT_EQ(held[0], held[2]);
  EXPECT_NE(weights[0], weights[2]);
}

// The coordinator was restarted with a new model under the same path.
TEST_F(WorkerNodeTest, ReplacedFileIsOpenedAnew) {
  char folder[] = "/tmp/headwise-replaced-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/m.gguf";
  std::ofstream(path) << "a";
  WorkerNodeOptions options = Options();
  options.open_model = [&](const std::string& opened) {
    opened_.push_back(opened);
    char digit = 0;
    std::ifstream(opened) >> digit;
    return std::make_shared<const FakeModel>(digit);
  };
  WorkerNode node(options);
  WorkerConfig config = Config(1);
  config.model_path = path;
  config.model_sha256 = std::string(64, 'a');
  EXPECT_TRUE(Prepare(node, config).ok());
  EXPECT_TRUE(Prepare(node, config).ok());
  EXPECT_EQ(opened_.size(), 1u);
  std::ofstream(path + ".new") << "b";
  ASSERT_EQ(rename((path + ".new").c_str(), path.c_str()), 0);
  config.model_sha256 = std::string(64, 'b');
  EXPECT_TRUE(Prepare(node, config).ok());
  EXPECT_EQ(opened_.size(), 2u);
  EXPECT_EQ(remove(path.c_str()), 0);
  EXPECT_EQ(remove(folder), 0);
}

// Packs a shard until it is told that nobody wants it.
class EndlessLoad {
 public:
  absl::StatusOr<std::unique_ptr<Executor>> operator()(
      const std::function<bool(double)>& progress) {
    while (progress(0.5)) {
      if (!running_.HasBeenNotified()) running_.Notify();
    }
    return absl::CancelledError("not wanted");
  }
  void WaitUntilItRuns() const { running_.WaitForNotification(); }

 private:
  absl::Notification running_;
};

TEST_F(WorkerNodeTest, LoadingEndsForANewerOrderItsCallerAndTheEnd) {
  EndlessLoad loads[3];
  size_t next = 0;
  WorkerNodeOptions options = Options();
  options.create_executor = [&](const Model&, Shard, const ExecutorOptions&,
                                const std::function<bool(double)>& progress) {
    return loads[next++](progress);
  };
  auto node = std::make_unique<WorkerNode>(options);
  Reply<absl::StatusOr<PreparedShard>> older, cancelled, last;
  std::atomic<bool> is_wanted = true;
  ASSERT_TRUE(node->Prepare(Config(1), nullptr, older.Callback()).ok());
  loads[0].WaitUntilItRuns();
  ASSERT_TRUE(node->Prepare(
                      Config(2), [&](double) { return is_wanted.load(); },
                      cancelled.Callback())
                  .ok());
  EXPECT_EQ(older.Wait().status().code(), absl::StatusCode::kAborted);
  loads[1].WaitUntilItRuns();
  is_wanted = false;
  EXPECT_EQ(cancelled.Wait().status().code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(node->Prepare(Config(3), nullptr, last.Callback()).ok());
  loads[2].WaitUntilItRuns();
  node.reset();
  EXPECT_EQ(last.Wait().status().code(), absl::StatusCode::kCancelled);
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
