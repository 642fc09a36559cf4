#include "server/neural_memory/neural_memories.h"

#include <cmath>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/neural_memory/memory_cluster_fixture.h"
#include "worker/memory_parts/memory_bytes.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

TEST_F(NeuralMemoriesTest, BitsAreThoseOfAnyCluster) {
  TestMemoryCluster single({});
  const std::string id = Create(single, Config());
  const auto whole = Write(single, id, 0, 90);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::vector<float> expected = Read(single, id);
  const TestMemoryClusterOptions clusters[] = {
      {.speeds = {1.0, 1.0}},
      {.speeds = {1.0, 3.0, 0.5}, .num_threads = 3},
      {.speeds = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}}};
  for (const TestMemoryClusterOptions& options : clusters) {
    TestMemoryCluster cluster(options);
    const std::string other = Create(cluster, Config());
    std::vector<float> outputs;
    std::vector<float> surprise;
    for (int64_t first = 0; first < 90; first += 13) {
      const auto part =
          Write(cluster, other, first, std::min<int64_t>(13, 90 - first));
      ASSERT_TRUE(part.ok()) << part.status();
      outputs.insert(outputs.end(), part->outputs.begin(), part->outputs.end());
      surprise.insert(surprise.end(), part->surprise.begin(),
                      part->surprise.end());
    }
    EXPECT_TRUE(outputs == whole->outputs);
    EXPECT_TRUE(surprise == whole->surprise);
    EXPECT_TRUE(Read(cluster, other) == expected);
  }
}

TEST_F(NeuralMemoriesTest, HeadsAreDealtBySpeedAndBytesAreTold) {
  TestMemoryCluster cluster({.speeds = {1.0, 3.0}});
  const auto info =
      cluster.memories().Create(caller_, TestMemoryConfig(8), {7}, "");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->memory_id.size(), 32u);
  EXPECT_EQ(info->state_bytes, 8 * MemoryStateBytes(TestMemorySpec()));
  EXPECT_EQ(info->reserved_bytes(), cluster.reserved_bytes());
  EXPECT_GE(info->reserved_bytes(), 2 * info->state_bytes);
  ASSERT_EQ(info->workers.size(), 2u);
  EXPECT_EQ(info->workers[0].num_heads, 2);
  EXPECT_EQ(info->workers[1].first_head, 2);
  EXPECT_EQ(info->workers[1].num_heads, 6);
  // Constant, however much is written.
  const std::string id = info->memory_id;
  const WriteOf rows(TestMemoryConfig(8), 0, 333);
  ASSERT_TRUE(cluster.memories().Write(caller_, id, rows.write()).ok());
  EXPECT_EQ(cluster.memories().Get(caller_, id)->state_bytes,
            info->state_bytes);
  EXPECT_EQ(cluster.reserved_bytes(), info->reserved_bytes());
}

TEST_F(NeuralMemoriesTest, WeightsOfTheCallerAreTaken) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  MemoryConfig config = TestMemoryConfig(2);
  config.spec.num_layers = 1;
  config.spec.hidden_dim = 0;
  config.spec.norm = MemoryNorm::kNone;
  config.spec.residual = false;
  // Head 0 doubles a query, head 1 turns it round.
  std::vector<float> weights(2 * 256, 0.0f);
  for (int i = 0; i < 16; ++i) {
    weights[i * 16 + i] = 2.0f;
    weights[256 + i * 16 + 15 - i] = 1.0f;
  }
  const std::string bytes = BytesOfFloats(weights);
  const auto info = cluster.memories().Create(caller_, config, {0, &bytes}, "");
  ASSERT_TRUE(info.ok()) << info.status();
  const std::vector<float> query = RandomFloats(32, 5);
  const auto answer =
      cluster.memories().Read(caller_, info->memory_id, BytesOfFloats(query));
  ASSERT_TRUE(answer.ok()) << answer.status();
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(answer->outputs[i], 2.0f * query[i]);
    EXPECT_EQ(answer->outputs[16 + i], query[31 - i]);
  }
}

TEST_F(NeuralMemoriesTest, ARepeatedWriteIsKnownAndAGapIsRefused) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 10);
  Fill(cluster, id, 30, 10);
  const std::vector<float> before = Read(cluster, id);
  const auto again = Write(cluster, id, 10, 20);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->was_written);
  EXPECT_EQ(again->num_tokens, 30);
  EXPECT_TRUE(again->outputs.empty());
  const auto other = Write(cluster, id, 10, 20, /*seed=*/2);
  EXPECT_EQ(other.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.status().message()),
              HasSubstr("expected offset 30, got 10"));
  const auto gap = Write(cluster, id, 31, 5);
  EXPECT_EQ(gap.status().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(gap.status().message()),
              HasSubstr("expected offset 30, got 31"));
  EXPECT_TRUE(Read(cluster, id) == before);
}

TEST_F(NeuralMemoriesTest, BadNumbersLeaveTheStateUntouched) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 20);
  const std::vector<float> before = Read(cluster, id);
  WriteOf rows(Config(), 20, 20);
  rows.Set(rows.values, 700, NAN);
  EXPECT_EQ(cluster.memories().Write(caller_, id, rows.write()).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(cluster.memories().stats().num_undone, 0);
  EXPECT_TRUE(Read(cluster, id) == before);
  const auto query = cluster.memories().Read(
      caller_, id, BytesOfFloats(std::vector<float>(80, INFINITY)));
  EXPECT_EQ(query.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(query.status().message()),
              HasSubstr("queries: inf at query 0, head 0, dimension 0"));
}

TEST_F(NeuralMemoriesTest, ABlowUpIsUndoneOnAllWorkers) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 20);
  const std::vector<float> before = Read(cluster, id);
  WriteOf rows(Config(), 20, 30);
  rows.Set(rows.theta, 6 * kHeads + 4, 1e6f);  // token 26, head 4
  const auto refused = cluster.memories().Write(caller_, id, rows.write());
  EXPECT_EQ(refused.status().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.status().message()),
              testing::AllOf(HasSubstr("head 4: token 31"),
                             HasSubstr("max_norm is 10000"),
                             HasSubstr("20 tokens are written")));
  EXPECT_EQ(NumTokens(cluster, id), 20);
  EXPECT_TRUE(Read(cluster, id) == before);
  EXPECT_EQ(cluster.memories().stats().num_undone, 1);
  // It goes on as if nothing had been tried.
  Fill(cluster, id, 50, 20);
  TestMemoryCluster single({});
  const std::string wanted = Create(single, Config());
  Fill(single, wanted, 50);
  EXPECT_TRUE(Read(cluster, id) == Read(single, wanted));
}

TEST_F(NeuralMemoriesTest, AFrozenMemoryIsReadAndNotWritten) {
  TestMemoryCluster cluster({});
  NeuralMemories& memories = cluster.memories();
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 20);
  const std::vector<float> before = Read(cluster, id);
  ASSERT_TRUE(memories.SetFrozen(caller_, id, true)->frozen);
  const auto refused = Write(cluster, id, 20, 5);
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("is frozen"));
  EXPECT_TRUE(Read(cluster, id) == before);
  // Its forks are free to learn.
  const auto fork = memories.Fork(caller_, id, "");
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_FALSE(fork->frozen);
  Fill(cluster, fork->memory_id, 40, 20);
  EXPECT_FALSE(memories.SetFrozen(caller_, id, false)->frozen);
  Fill(cluster, id, 40, 20);
  EXPECT_TRUE(Read(cluster, id) == Read(cluster, fork->memory_id));
}

TEST_F(NeuralMemoriesTest, SurpriseFallsAsAPairIsLearnedAndIsCounted) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  MemoryConfig config = Config();
  config.spec.chunk_len = 1;
  config.default_gates = {{0.02f, 0.0f, 0.0f}};
  const std::string id = Create(cluster, config);
  WriteOf rows(config, 0, 1);
  rows.queries = rows.theta = rows.eta = rows.alpha = "";
  std::string keys;
  std::string values;
  for (int i = 0; i < 40; ++i) {
    keys += rows.keys;
    values += rows.values;
  }
  rows.keys = keys;
  rows.values = values;
  rows.Hash();
  const auto outcome = cluster.memories().Write(caller_, id, rows.write());
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->outputs.empty());
  ASSERT_EQ(outcome->surprise.size(), 40u * kHeads);
  for (int64_t head = 0; head < kHeads; ++head) {
    EXPECT_LT(outcome->surprise[39 * kHeads + head],
              0.5f * outcome->surprise[head]);
  }
  const MemoryStats stats = cluster.memories().stats();
  EXPECT_EQ(stats.num_tokens, 40);
  int64_t count = 0;
  for (const int64_t in_bucket : stats.surprise.counts) count += in_bucket;
  EXPECT_EQ(count, 40 * kHeads);
  EXPECT_GT(stats.surprise.sum, 0.0);
}

TEST_F(NeuralMemoriesTest, ConfigsOutOfRangeAreRefusedByName) {
  TestMemoryCluster cluster({});
  const auto message = [&](const MemoryConfig& config) {
    const auto created = cluster.memories().Create(caller_, config, {}, "");
    EXPECT_EQ(created.status().code(), StatusCode::kInvalidArgument);
    return std::string(created.status().message());
  };
  MemoryConfig config = Config();
  config.num_heads = 257;
  EXPECT_THAT(message(config), HasSubstr("num_heads: 257, allowed 1 to 256"));
  config = Config();
  config.spec.head_dim = 24;
  EXPECT_THAT(message(config), HasSubstr("head_dim"));
  config = Config();
  config.spec.chunk_len = 5000;
  EXPECT_THAT(message(config), HasSubstr("chunk_len"));
  config = Config();
  config.spec.max_norm = NAN;
  EXPECT_THAT(message(config), HasSubstr("max_norm"));
  config = Config();
  config.default_gates = {{0.1f, 1.5f, 0.0f}};
  EXPECT_THAT(message(config),
              HasSubstr("default_gates.eta: 1.5, allowed 0 to 1"));
  config = Config();
  config.ttl = absl::Hours(25);
  EXPECT_THAT(message(config), HasSubstr("ttl_seconds: 90000"));
  EXPECT_EQ(cluster.reserved_bytes(), 0);
}

}  // namespace
}  // namespace headwise
