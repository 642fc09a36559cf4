// A cluster of session nodes in this process, for tests.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_FIXTURE_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_FIXTURE_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/fake_clock.h"
#include "base/sha256.h"
#include "server/attention/attention_sessions.h"
#include "server/attention/local_attention_link.h"
#include "server/membership/membership.h"
#include "worker/backends/cpu/isa.h"
#include "worker/sessions/session_fixture.h"
#include "worker/sessions/session_node.h"

namespace headwise {

struct TestClusterOptions {
  std::vector<double> speeds = {1.0};  // one for each worker
  int num_threads = 1;
  int64_t capacity_bytes = 256 << 20;
  size_t max_sessions = 100;
  // Wraps a worker's link.
  std::function<std::shared_ptr<AttentionLink>(
      int worker, std::shared_ptr<AttentionLink> link)>
      wrap;
};

class TestCluster {
 public:
  explicit TestCluster(const TestClusterOptions& options)
      : membership_({}, clock_) {
    for (size_t i = 0; i < options.speeds.size(); ++i) {
      SessionNodeOptions node;
      node.num_threads = options.num_threads;
      // Machines may differ.
      node.isa = IsasOfThisMachine()[i % IsasOfThisMachine().size()];
      node.store.capacity_bytes = options.capacity_bytes;
      const std::string name = "w" + std::to_string(i);
      nodes_[name] = std::make_unique<SessionNode>(node, clock_);
      MemberInfo info;
      info.name = name;
      info.address = "in-process";
      info.speed = options.speeds[i];
      registrations_.push_back(membership_.Register(info).value());
    }
    AttentionSessionsOptions sessions;
    sessions.view = [this] { return membership_.view(); };
    sessions.make_link = [this, wrap = options.wrap](const MemberInfo& info) {
      std::shared_ptr<AttentionLink> link =
          std::make_shared<LocalAttentionLink>(*nodes_.at(info.name));
      return wrap ? wrap(std::stoi(info.name.substr(1)), link) : link;
    };
    sessions.interval = absl::InfiniteDuration();
    sessions.max_entries = options.max_sessions;
    sessions_ = std::make_unique<AttentionSessions>(sessions, clock_);
  }

  AttentionSessions& sessions() { return *sessions_; }
  FakeClock& clock() { return clock_; }
  void KillWorker(int index) { membership_.Remove(registrations_.at(index)); }

  // In use and promised at all workers; what was asked before has been done.
  int64_t committed_bytes() {
    int64_t sum = 0;
    for (const auto& [name, node] : nodes_) {
      absl::Notification done;
      (void)node->Submit([&](SessionStore& store) {
        sum += store.committed_bytes();
        done.Notify();
      });
      done.WaitForNotification();
    }
    return sum;
  }

 private:
  FakeClock clock_;
  std::map<std::string, std::unique_ptr<SessionNode>> nodes_;
  Membership membership_;
  std::vector<uint64_t> registrations_;
  std::unique_ptr<AttentionSessions> sessions_;
};

// Positions [begin, end) of a chunk, with what a Chunk refers to.
class ChunkOf {
 public:
  ChunkOf(const RandomTensor& keys, const RandomTensor& values, int64_t begin,
          int64_t end)
      : offset_(begin) {
    const int64_t width = keys.num_kv_heads * keys.head_dim;
    keys_ = BytesOf(keys.row(begin, 0), (end - begin) * width);
    values_ = BytesOf(values.row(begin, 0), (end - begin) * width);
    Hash();
  }
  // The float at this place becomes `value`, with a hash that is right.
  void SetKey(int64_t index, float value) {
    std::memcpy(keys_.data() + 4 * index, &value, 4);
    Hash();
  }
  void SpoilHash() { sha256_[0] ^= 1; }
  void CutValues() { values_.pop_back(); }
  Chunk chunk() const { return {offset_, keys_, values_, sha256_}; }
  Chunk at(int64_t offset) const { return {offset, keys_, values_, sha256_}; }

 private:
  void Hash() {
    const std::string all = keys_ + values_;
    const Sha256Digest digest =
        Sha256Of({reinterpret_cast<const uint8_t*>(all.data()), all.size()});
    sha256_.assign(digest.begin(), digest.end());
  }
  int64_t offset_;
  std::string keys_;
  std::string values_;
  std::string sha256_;
};

inline AttentionConfig TestConfig(int64_t num_kv_heads, int64_t group,
                                  int64_t head_dim, int64_t max_positions) {
  AttentionConfig config;
  config.shape = {.num_kv_heads = num_kv_heads,
                  .heads_per_kv_head = group,
                  .head_dim = head_dim,
                  .element = KvElement::kFp32,
                  .max_positions = max_positions};
  config.softmax_scale = 0.25;
  config.policies.resize(num_kv_heads);
  return config;
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_FIXTURE_H_
