// Workers whose weights change in memory while they serve: what a flipped bit
// of a machine without ECC does.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "model/work_grid.h"
#include "tests/cluster/process_memory.h"
#include "tests/cluster/served_cluster.h"
#include "worker/executor/shard_weights.h"

namespace headwise {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;

class CorruptWorkerTest : public ServedCluster {
 protected:
  void StartThree() {
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    StartServing(3);
    ASSERT_FALSE(HasFatalFailure());
    AskUndisturbed(request_);
  }

  // The query weights of KV head 0 in layer 1, as every worker packs them.
  std::string SomeWeights() {
    const auto model = Model::Open(model_path_);
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return "";
    const WorkGrid grid = MakeWorkGrid((*model)->hyperparameters());
    Shard shard;
    shard.layers.resize(static_cast<size_t>(grid.num_layers));
    shard.layers[1].units = {0};
    shard.vocab_tile_rank.resize(static_cast<size_t>(grid.num_vocab_tiles), 1);
    ThreadTeam team(1, {});
    const auto weights = PackShard(**model, shard, team, nullptr);
    EXPECT_TRUE(weights.ok()) << weights.status();
    if (!weights.ok()) return "";
    const auto content = weights->layers[1].units[0].storage->content();
    return {reinterpret_cast<const char*>(content.data()), 256};
  }

  // Who holds them, and where.
  struct Place {
    pid_t worker = 0;
    uint64_t address = 0;
  };
  Place FindWeights() {
    const std::string weights = SomeWeights();
    for (const auto& worker : workers_) {
      const auto found = FindInMemory(worker->pid(), weights);
      if (found.has_value()) return {worker->pid(), *found};
    }
    ADD_FAILURE() << "no worker has the weights in its memory";
    return {};
  }

  // The first four bytes are now `word`.
  static void Corrupt(const Place& place, uint32_t word) {
    const std::string bytes(reinterpret_cast<const char*>(&word), 4);
    const absl::Status written =
        WriteToMemory(place.worker, place.address, bytes);
    EXPECT_TRUE(written.ok()) << written;
  }

  // So long that it has not ended when its first tokens are heard.
  const v1::GenerateRequest request_ = Request(1000);
};

// Case 7. All ranks add what is not a number; the one that made it is left out,
// the others have its units, and the caller hears a pause.
TEST_F(CorruptWorkerTest, AnAnswerGoesOnWithoutTheOneThatMakesNan) {
  StartThree();
  ASSERT_FALSE(HasFatalFailure());
  const Place place = FindWeights();
  ASSERT_FALSE(HasFailure());
  constexpr uint32_t kNan = 0x7fc00000;
  const HeardAnswer answer =
      AskUntilWhole(request_, {.on_token = [&](size_t number, auto&) {
                      if (number == 20) Corrupt(place, kNan);
                    }});
  EXPECT_EQ(answer.text, fault_free_.answers()[0].text);
  EXPECT_THAT(history_.answers(), testing::SizeIs(2)) << "not asked again";
  EXPECT_THAT(coordinator_->Log(),
              HasSubstr("weights have changed in memory: layer 1, KV head 0"));
  EXPECT_THAT(coordinator_->Log(),
              ContainsRegex("worker w. answered wrongly: left out for 30s"));
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  for (const auto& worker : workers_) EXPECT_TRUE(worker->IsRunning());
  EXPECT_THAT(history_.CheckEnds(), IsEmpty());
}

// A number that is wrong and looks well: found within two turns of 1,024 steps,
// if nobody rests; until then answers may be wrong.
TEST_F(CorruptWorkerTest, AWrongWeightIsFoundWhileItIsServed) {
  StartThree();
  ASSERT_FALSE(HasFatalFailure());
  const Place place = FindWeights();
  ASSERT_FALSE(HasFailure());
  Corrupt(place, 0x3f000000);
  EXPECT_TRUE(WaitUntil(
      [&] {
        Begin(request_)->End();
        return absl::StrContains(coordinator_->Log(),
                                 "weights have changed in memory");
      },
      kReady))
      << Logs();
  const HeardAnswer answer = AskUntilWhole(request_, {});
  EXPECT_EQ(answer.text, fault_free_.answers()[0].text);
}

}  // namespace
}  // namespace headwise
