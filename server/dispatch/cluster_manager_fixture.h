// ClusterManager with workers, engine and clock that tests own.

#ifndef HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_FIXTURE_H_
#define HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_FIXTURE_H_

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/fake_clock.h"
#include "gtest/gtest.h"
#include "server/dispatch/cluster_manager.h"
#include "server/dispatch/fake_worker_link.h"
#include "server/scheduler/engine_stub.h"

namespace headwise {

// Remembers what it was told.
class FakeEngine final : public EngineStub {
 public:
  void Suspend(absl::Status reason, GroupEnd end) override {
    history.push_back("suspend");
    last_end = end;
    last_reason = reason;
  }
  ResumeReport Resume(KvCapacity capacity) override {
    const int64_t sum = std::accumulate(capacity.rank_bytes.begin(),
                                        capacity.rank_bytes.end(), int64_t{0});
    history.push_back("resume " + std::to_string(sum));
    return {.num_rebuilt = 3, .num_ended = 1, .paused = absl::Seconds(2)};
  }
  EngineStats stats() const override { return engine_stats; }

  std::vector<std::string> history;
  absl::Status last_reason;
  std::optional<GroupEnd> last_end;
  EngineStats engine_stats;
};

inline ModelShape SmallShape() {
  ModelShape shape;
  shape.num_layers = 2;
  shape.num_units = 3;
  shape.num_mlp_tiles = 4;
  shape.num_vocab_tiles = 5;
  shape.heads_per_kv_head = 3;
  shape.head_dim = 64;
  shape.model_dim = 576;
  shape.unit_weight_bytes = 1000;
  shape.mlp_tile_weight_bytes = 1000;
  shape.vocab_tile_weight_bytes = 1000;
  shape.kv_bytes_per_unit_position = 256;
  return shape;
}

class ClusterManagerFixture : public testing::Test {
 protected:
  ClusterManagerFixture() { Rebuild(1); }

  void Rebuild(size_t min_workers,
               absl::Duration stall_timeout = absl::Milliseconds(200)) {
    ClusterManagerOptions options;
    options.former.model_path = "m.gguf";
    options.former.shape = SmallShape();
    options.former.kv_capacity_bytes = 1 << 20;
    options.former.prepare_stall_timeout = stall_timeout;
    options.min_workers = min_workers;
    options.on_change = [this](const GroupChange& change) {
      EXPECT_EQ(change.group, GroupChoice::kSharedMemory);
      changes_.push_back(change.reason.code());
    };
    options.log = [this](const std::string& line) { log_.push_back(line); };
    manager_ = nullptr;
    manager_ = std::make_unique<ClusterManager>(
        options, ClusterManagerDeps{membership_, dispatcher_, engine_, clock_,
                                    [this](const MemberInfo& info) {
                                      auto& link = links_[info.name];
                                      if (link == nullptr) {
                                        link =
                                            std::make_shared<FakeWorkerLink>();
                                      }
                                      return link;
                                    }});
  }

  uint64_t AddWorker(const std::string& name, double speed = 1.0) {
    MemberInfo info;
    info.name = name;
    info.host_id = "host";
    info.speed = speed;
    return membership_.Register(info).value();
  }

  // So many seconds pass, in which all workers are heard of, and those that
  // were excluded come back.
  void Live(int seconds, const std::vector<std::string>& names) {
    for (int second = 0; second < seconds; ++second) {
      clock_.Advance(absl::Seconds(1));
      for (const std::string& name : names) {
        if (!Beat(name)) AddWorker(name);
      }
      manager_->RunOnce();
    }
  }

  bool Beat(const std::string& name) {
    for (const Member& member : membership_.view()->members) {
      if (member.info.name != name) continue;
      return membership_.Heartbeat(member.registration_id).ok();
    }
    return false;
  }

  int64_t NumSuspends() const {
    return std::count(engine_.history.begin(), engine_.history.end(),
                      "suspend");
  }

  // Rank 0 answers a step with a token outside the vocabulary.
  void AnswerWrongly(const std::string& name) {
    Step step;
    step.step_id = 1;
    step.slices.resize(1);
    step.slices[0].tokens = {1};
    dispatcher_.Submit(std::move(step), [](absl::StatusOr<StepResult>) {});
    const StepListener listener = Link(name).listener();
    StepAnswer answer;
    answer.membership_epoch = manager_->status().group->membership_epoch;
    answer.step_id = 1;
    answer.result = StepResult{.results = {{.has_token = true, .token = -1}}};
    listener.on_answer(std::move(answer));
  }

  FakeWorkerLink& Link(const std::string& name) {
    auto& link = links_[name];
    if (link == nullptr) link = std::make_shared<FakeWorkerLink>();
    return *link;
  }

  std::vector<std::string> Serving() const {
    std::vector<std::string> names;
    const auto group = manager_->status().group;
    if (group == nullptr) return {};
    for (const Member& m : group->members) names.push_back(m.info.name);
    return names;
  }

  FakeClock clock_;
  Membership membership_{{.first_epoch = 1000}, clock_};
  ClusterDispatcher dispatcher_{{}, clock_};
  FakeEngine engine_;
  std::map<std::string, std::shared_ptr<FakeWorkerLink>> links_;
  std::vector<absl::StatusCode> changes_;
  std::vector<std::string> log_;
  std::unique_ptr<ClusterManager> manager_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_CLUSTER_MANAGER_FIXTURE_H_
