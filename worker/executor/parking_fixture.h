// What tests of parked sequences share: a plan of every policy, and a folder.

#ifndef HEADWISE_WORKER_EXECUTOR_PARKING_FIXTURE_H_
#define HEADWISE_WORKER_EXECUTOR_PARKING_FIXTURE_H_

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"

namespace headwise {

inline TinyModelOptions ParkModelOptions() {
  TinyModelOptions options;
  options.num_layers = 3;
  options.num_heads = 6;
  options.num_kv_heads = 3;
  options.max_context_len = 4096;
  return options;
}

// Every policy that remembers something, and a calibrated head.
inline std::shared_ptr<const HeadPlan> ParkPlan() {
  auto plan = std::make_shared<HeadPlan>();
  plan->num_layers = 3;
  plan->num_heads = 6;
  plan->num_kv_heads = 3;
  plan->units.resize(9);
  plan->heads.resize(18);
  const auto set = [&plan](int unit, PolicyKind kind) -> UnitPolicy& {
    plan->units[unit].kind = kind;
    return plan->units[unit];
  };
  for (const auto& [unit, kind] :
       {std::pair(0, PolicyKind::kStreaming), std::pair(1, PolicyKind::kRazor),
        std::pair(2, PolicyKind::kRazor)}) {
    set(unit, kind).num_sinks = 4;
    set(unit, kind).window = 60;
  }
  plan->units[2].full_prompt = false;
  for (const auto& [unit, kind] :
       {std::pair(3, PolicyKind::kLongHeads), std::pair(4, PolicyKind::kQuest),
        std::pair(5, PolicyKind::kLandmarkOracle)}) {
    set(unit, kind).chunk_len = 64;
    set(unit, kind).num_chunks = 4;
  }
  set(8, PolicyKind::kLandmark).chunk_len = 64;
  plan->units[8].num_chunks = 4;
  plan->units[8].slot_positions = true;
  plan->units[6].kv_type = PlanKvType::kInt8;
  // Head 15 belongs to unit 7, which is full.
  plan->heads[15].sink_beta = 0.4f;
  plan->heads[15].sink_threshold = 0.01f;
  return plan;
}

// Rows [begin, end) of 700 tokens, of which 600 are prompt, under ParkPlan.
inline std::vector<Sha256Digest> ScoreUnderPlan(Cluster& cluster, int64_t begin,
                                                int64_t end,
                                                uint64_t sequence_id = 1) {
  Step step;
  step.plans.push_back({7, ParkPlan()});
  step.slices.push_back(ScoreSlice(
      sequence_id, SomeTokens(700, static_cast<int32_t>(sequence_id)), begin,
      end));
  step.slices[0].plan_id = 7;
  step.slices[0].prompt_len = 600;
  const absl::StatusOr<StepResult> result = cluster.Run(step);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return {};
  return result->results[0].logits_digests;
}

// Of sequence 1, in a step of its own; of rank 0.
inline absl::Status ParkIn(Cluster& cluster, ParkAction action) {
  Step step;
  step.parks.push_back({.sequence_id = 1, .action = action, .plan_id = 7});
  const absl::StatusOr<StepResult> result = cluster.Run(step);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return result.status();
  EXPECT_EQ(result->parks.size(), 1u);
  EXPECT_EQ(result->parks[0].bytes > 0,
            action == ParkAction::kWrite && result->parks[0].status.ok());
  return result->parks[0].status;
}

inline void FreeIn(Cluster& cluster, uint64_t sequence_id) {
  Step step;
  step.free_sequence_ids = {sequence_id};
  EXPECT_TRUE(cluster.Run(step).ok());
}

inline std::string WithHash(const std::string& body) {
  const Sha256Digest digest =
      Sha256Of({reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  return body + std::string(digest.begin(), digest.end());
}

// A folder for as long as the test runs.
class ParkFolder {
 public:
  ParkFolder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            absl::StrCat("headwise_park_", getpid(), "_", count++);
    std::filesystem::create_directory(path_);
  }
  ~ParkFolder() { std::filesystem::remove_all(path_); }

  ExecutorOptions Use(ExecutorOptions options) const {
    options.park_dir = path_;
    return options;
  }
  std::string path() const { return path_; }
  int num_files() const {
    return static_cast<int>(
        std::distance(std::filesystem::directory_iterator(path_),
                      std::filesystem::directory_iterator()));
  }
  std::string ReadOnlyFile() const {
    std::ifstream in(OnlyFile(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void ReplaceOnlyFile(const std::string& content) const {
    std::ofstream out(OnlyFile(), std::ios::binary | std::ios::trunc);
    out << content;
  }

 private:
  std::filesystem::path OnlyFile() const {
    EXPECT_EQ(num_files(), 1);
    return std::filesystem::directory_iterator(path_)->path();
  }
  std::filesystem::path path_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_PARKING_FIXTURE_H_
