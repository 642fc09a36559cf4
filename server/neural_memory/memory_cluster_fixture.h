// A cluster of memory nodes in this process, and writes to it, for tests.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CLUSTER_FIXTURE_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CLUSTER_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/fake_clock.h"
#include "base/sha256.h"
#include "gtest/gtest.h"
#include "server/membership/membership.h"
#include "server/neural_memory/local_memory_link.h"
#include "server/neural_memory/neural_memories.h"
#include "worker/backends/cpu/isa.h"
#include "worker/memory_parts/memory_fixture.h"
#include "worker/memory_parts/memory_node.h"

namespace headwise {

struct TestMemoryClusterOptions {
  std::vector<double> speeds = {1.0};  // one for each worker
  int num_threads = 1;
  int64_t capacity_bytes = 256 << 20;
  int64_t max_tenant_bytes = 0;
  size_t max_memories = 100;
  SessionLifetimes sessions = {};
  // Wraps a worker's link.
  std::function<std::shared_ptr<MemoryLink>(int worker,
                                            std::shared_ptr<MemoryLink> link)>
      wrap = {};
};

class TestMemoryCluster {
 public:
  explicit TestMemoryCluster(const TestMemoryClusterOptions& options)
      : membership_({}, clock_) {
    for (size_t i = 0; i < options.speeds.size(); ++i) {
      MemoryNodeOptions node;
      node.num_threads = options.num_threads;
      // Machines may differ.
      node.isa = IsasOfThisMachine()[i % IsasOfThisMachine().size()];
      node.store.capacity_bytes = options.capacity_bytes;
      const std::string name = "w" + std::to_string(i);
      nodes_[name] = std::make_unique<MemoryNode>(node, clock_);
      MemberInfo info;
      info.name = name;
      info.address = "in-process";
      info.speed = options.speeds[i];
      registrations_.push_back(membership_.Register(info).value());
    }
    NeuralMemoriesOptions memories;
    memories.book.view = [this] { return membership_.view(); };
    memories.book.make_link = [this,
                               wrap = options.wrap](const MemberInfo& info) {
      std::shared_ptr<MemoryLink> link =
          std::make_shared<LocalMemoryLink>(*nodes_.at(info.name));
      return wrap ? wrap(std::stoi(info.name.substr(1)), link) : link;
    };
    memories.book.interval = absl::InfiniteDuration();
    memories.book.max_entries = options.max_memories;
    memories.book.max_tenant_bytes = options.max_tenant_bytes;
    memories.sessions = options.sessions;
    memories_ = std::make_unique<NeuralMemories>(std::move(memories), clock_);
  }

  NeuralMemories& memories() { return *memories_; }
  FakeClock& clock() { return clock_; }
  void KillWorker(int index) { membership_.Remove(registrations_.at(index)); }

  // At all workers; what was asked before has been done.
  int64_t reserved_bytes() {
    int64_t sum = 0;
    for (const auto& [name, node] : nodes_) {
      absl::Notification done;
      (void)node->Submit([&](MemoryStore& store) {
        sum += store.reserved_bytes();
        done.Notify();
      });
      done.WaitForNotification();
    }
    return sum;
  }

 private:
  FakeClock clock_;
  std::map<std::string, std::unique_ptr<MemoryNode>> nodes_;
  Membership membership_;
  std::vector<uint64_t> registrations_;
  std::unique_ptr<NeuralMemories> memories_;
};

inline MemoryConfig TestMemoryConfig(int64_t num_heads) {
  MemoryConfig config;
  config.num_heads = num_heads;
  config.spec = TestMemorySpec();
  return config;
}

inline std::string BytesOfFloats(const std::vector<float>& x) {
  return {reinterpret_cast<const char*>(x.data()), x.size() * sizeof(float)};
}

// Tokens [first, first + count) of a stream that the seed gives, with what a
// MemoryWrite refers to. Change a tensor, then Hash.
struct WriteOf {
  WriteOf(const MemoryConfig& config, int64_t first, int64_t count,
          uint64_t seed = 1)
      : offset(first) {
    const WriteMemoryRequest rows = TestMemoryWrite(
        "", {config.spec, 0, config.num_heads}, first, count, seed);
    keys = BytesOfFloats(rows.keys);
    values = BytesOfFloats(rows.values);
    queries = BytesOfFloats(rows.queries);
    theta = BytesOfFloats(rows.theta);
    eta = BytesOfFloats(rows.eta);
    alpha = BytesOfFloats(rows.alpha);
    Hash();
  }
  void Hash() {
    const std::string all = keys + values + queries + theta + eta + alpha;
    const Sha256Digest digest =
        Sha256Of({reinterpret_cast<const uint8_t*>(all.data()), all.size()});
    sha256.assign(digest.begin(), digest.end());
  }
  // The float at this place of a tensor becomes `value`, with a hash that is
  // right.
  void Set(std::string& tensor, int64_t index, float value) {
    tensor.replace(4 * index, 4, BytesOfFloats({value}));
    Hash();
  }
  MemoryWrite write() const {
    return {offset, keys, values, queries, theta, eta, alpha, sha256};
  }

  int64_t offset;
  std::string keys, values, queries, theta, eta, alpha, sha256;
};

class NeuralMemoriesTest : public testing::Test {
 protected:
  static constexpr int64_t kHeads = 5;

  static MemoryConfig Config() { return TestMemoryConfig(kHeads); }

  std::string Create(TestMemoryCluster& cluster, const MemoryConfig& config) {
    const auto info = cluster.memories().Create(caller_, config, {7}, "");
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->memory_id : "";
  }
  absl::StatusOr<MemoryWriteOutcome> Write(TestMemoryCluster& cluster,
                                           const std::string& id, int64_t first,
                                           int64_t count, uint64_t seed = 1) {
    const WriteOf rows(Config(), first, count, seed);
    return cluster.memories().Write(caller_, id, rows.write());
  }
  void Fill(TestMemoryCluster& cluster, const std::string& id, int64_t end,
            int64_t begin = 0) {
    const auto outcome = Write(cluster, id, begin, end - begin);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->num_tokens, end);
  }
  std::vector<float> Read(TestMemoryCluster& cluster, const std::string& id) {
    const auto answer = cluster.memories().Read(
        caller_, id, WriteOf(Config(), 0, 6, 9).queries);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? answer->outputs : std::vector<float>();
  }
  int64_t NumTokens(TestMemoryCluster& cluster, const std::string& id) {
    const auto info = cluster.memories().Get(caller_, id);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->num_tokens : -1;
  }

  const Caller caller_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CLUSTER_FIXTURE_H_
