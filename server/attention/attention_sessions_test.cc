#include "server/attention/attention_sessions.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/attention/attention_sessions_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

// The product's promise, for sessions: workers, speeds, threads, chunks.
TEST_F(AttentionSessionsTest, SameBitsOnAnyClusterForAnyChunks) {
  const std::vector<int64_t> ends = {kLength, 1, 0, 700, 9000, kLength - 1};
  const std::tuple<std::vector<double>, int, int64_t> clusters[] = {
      {{1.0}, 1, 8192},
      {{1.0, 1.0}, 2, 977},
      {{1.0, 0.3, 2.0}, 1, 5000},
      {{1.0, 1.0, 1.0, 1.0, 1.0}, 1, 8192},
      {{9.0, 0.01, 1.0, 1.0, 1.0, 1.0, 0.1}, 2, 8000}};
  std::string expected;
  for (const auto& [speeds, threads, chunk] : clusters) {
    SCOPED_TRACE(testing::Message() << speeds.size() << " workers");
    TestCluster cluster({.speeds = speeds, .num_threads = threads});
    const std::string id = Open(cluster, Config());
    Fill(cluster, id, kLength, chunk);
    const auto answer = Attend(cluster, id, ends);
    ASSERT_TRUE(answer.ok()) << answer.status();
    if (expected.empty()) expected = HashOf(*answer);
    EXPECT_EQ(HashOf(*answer), expected);
    // One row alone is the row among others.
    const auto alone = Attend(cluster, id, {kLength});
    ASSERT_TRUE(alone.ok()) << alone.status();
    EXPECT_EQ(alone->output,
              answer->output.substr(0, kHeads * kDim * sizeof(float)));
  }
}

// One head over seven workers, at lengths where most of them hold nothing.
TEST_F(AttentionSessionsTest, WorkersWithoutARangeChangeNothing) {
  const RandomTensor keys(3000, 1, kDim, 4);
  const std::string queries = BytesOf(queries_.data.data(), kDim);
  for (const int64_t length : {1, 64, 511, 512, 513, 3000}) {
    SCOPED_TRACE(length);
    std::string expected;
    for (const size_t num_workers : {1, 2, 7}) {
      TestCluster cluster({.speeds = std::vector<double>(num_workers, 1.0)});
      const std::string id = Open(cluster, TestConfig(1, 1, kDim, 3000));
      const ChunkOf chunk(keys, keys, 0, length);
      ASSERT_TRUE(cluster.sessions().Append(caller_, id, chunk.chunk()).ok());
      const auto answer = cluster.sessions().Attend(
          caller_, id, {.query_len = 1, .queries = queries});
      ASSERT_TRUE(answer.ok()) << answer.status();
      if (expected.empty()) expected = HashOf(*answer);
      EXPECT_EQ(HashOf(*answer), expected);
    }
  }
}

TEST_F(AttentionSessionsTest, AnswersAreThoseOfSoftmaxAttention) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  AttentionConfig config = Config();
  config.policies[1] = {
      .kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 300};
  const std::string id = Open(cluster, config);
  Fill(cluster, id, kLength);
  const std::vector<int64_t> ends = {kLength, kLength - 4000, kLength - 1};
  const auto answer = Attend(cluster, id, ends);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->stored_positions, kLength);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t head = 0; head < kHeads; ++head) {
      const int64_t unit = head / kGroup;
      std::vector<float> query(queries_.row(row, head),
                               queries_.row(row, head) + kDim);
      for (float& x : query) x *= 0.25f;
      const ReferenceRow want = ReferenceAttention(
          query.data(), keys_, values_, unit, kLength, [&](int64_t j) {
            return j < ends[row] &&
                   (unit != 1 || j < 4 || j >= ends[row] - 300);
          });
      const int64_t at = row * kHeads + head;
      EXPECT_NEAR(answer->lse[at], want.lse, 1e-5);
      const auto* out = reinterpret_cast<const float*>(answer->output.data());
      for (int64_t d = 0; d < kDim; ++d) {
        EXPECT_NEAR(out[at * kDim + d], want.out[d], 1e-5);
      }
    }
  }
}

TEST_F(AttentionSessionsTest, StreamingAndFullHeadsGiveTheSameBitsAnywhere) {
  std::string expected;
  for (const std::vector<double>& speeds :
       {std::vector<double>{1.0}, {1.0, 1.0}, {1.0, 5.0, 1.0}}) {
    TestCluster cluster({.speeds = speeds});
    AttentionConfig config = Config();
    config.policies[0] = {
        .kind = PolicyKind::kStreaming, .num_sinks = 0, .window = 1000};
    config.policies[2] = {
        .kind = PolicyKind::kStreaming, .num_sinks = 600, .window = 64};
    const std::string id = Open(cluster, config);
    Fill(cluster, id, kLength, speeds.size() == 1 ? 8192 : 3000);
    const auto answer = Attend(cluster, id, {kLength, kLength - 4095});
    ASSERT_TRUE(answer.ok()) << answer.status();
    if (expected.empty()) expected = HashOf(*answer);
    EXPECT_EQ(HashOf(*answer), expected) << speeds.size() << " workers";
  }
}

// worker/sessions/policy_units_test.cc compares them with the reference.
TEST_F(AttentionSessionsTest, HeadsThatChooseGiveTheSameBitsAnywhere) {
  std::string expected;
  for (const std::vector<double>& speeds :
       {std::vector<double>{1.0}, {1.0, 1.0}, {1.0, 5.0, 1.0}}) {
    TestCluster cluster({.speeds = speeds});
    AttentionConfig config = Config();
    config.policies = PoliciesThatChoose();
    const std::string id = Open(cluster, config);
    Fill(cluster, id, kLength, speeds.size() == 1 ? 8192 : 3000);
    const auto fork = cluster.sessions().Fork(caller_, id);
    ASSERT_TRUE(fork.ok()) << fork.status();
    for (const std::string& session : {id, fork->session_id}) {
      const auto answer =
          Attend(cluster, session, {kLength, kLength - 4095, kLength});
      ASSERT_TRUE(answer.ok()) << answer.status();
      if (expected.empty()) expected = HashOf(*answer);
      EXPECT_EQ(HashOf(*answer), expected) << speeds.size() << " workers";
    }
  }
}

TEST_F(AttentionSessionsTest, HeadsThatChooseHaveNoProbes) {
  TestCluster cluster({});
  AttentionConfig config = Config();
  config.policies = PoliciesThatChoose();
  const std::string id = Open(cluster, config);
  Fill(cluster, id, 100);
  const auto answer = cluster.sessions().Attend(
      caller_, id,
      {.query_len = 3,
       .queries = query_bytes_[3],
       .probes = {.num_top_keys = 1, .max_bytes = 1 << 20}});
  EXPECT_EQ(answer.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(answer.status().message()),
              HasSubstr("KV head 0 has the policy razor"));
}

TEST_F(AttentionSessionsTest, WhatAStreamingHeadDroppedIsOutOfRange) {
  TestCluster cluster({});
  AttentionConfig config = Config();
  config.policies[1] = {
      .kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 300};
  const std::string id = Open(cluster, config);
  Fill(cluster, id, kLength);
  const auto answer = Attend(cluster, id, {9000});
  EXPECT_EQ(answer.status().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(answer.status().message()),
              HasSubstr("KV head 1 keeps only those from"));
}

TEST_F(AttentionSessionsTest, ByDefaultQueriesAreTheLastPositionsAndCausal) {
  TestCluster cluster({});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 100);
  const auto causal = cluster.sessions().Attend(
      caller_, id, {.query_len = 3, .queries = query_bytes_[3]});
  ASSERT_TRUE(causal.ok()) << causal.status();
  EXPECT_EQ(causal->output, Attend(cluster, id, {98, 99, 100})->output);
  const auto all = cluster.sessions().Attend(
      caller_, id,
      {.query_len = 3, .queries = query_bytes_[3], .all_keys = true});
  EXPECT_EQ(all->output, Attend(cluster, id, {100, 100, 100})->output);
}

TEST_F(AttentionSessionsTest, ARowThatSeesNoKeyIsZeroAndMinusInfinity) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Open(cluster, Config());
  const auto answer = Attend(cluster, id, {0});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->output, std::string(kHeads * kDim * 4, '\0'));
  EXPECT_THAT(answer->lse, testing::Each(-INFINITY));
}

TEST_F(AttentionSessionsTest, AppendTakesAChunkOnceAndSaysWhereToGoOn) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  AttentionSessions& sessions = cluster.sessions();
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 1000);
  const ChunkOf first(keys_, values_, 0, 1000);
  const auto again = sessions.Append(caller_, id, first.chunk());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->was_stored);
  EXPECT_EQ(again->stored_positions, 1000);

  const ChunkOf second(keys_, values_, 1000, 1500);
  const auto gap = sessions.Append(caller_, id, second.at(1001));
  EXPECT_EQ(gap.status().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(gap.status().message()),
              HasSubstr("expected offset 1000, got 1001"));
  const auto overlap = sessions.Append(caller_, id, second.at(999));
  EXPECT_EQ(overlap.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(overlap.status().message()),
              HasSubstr("expected offset 1000, got 999"));
  // Other bytes for positions that are stored.
  EXPECT_EQ(sessions.Append(caller_, id, second.at(0)).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(sessions.Append(caller_, id, second.at(-1)).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(sessions.Get(caller_, id)->stored_positions, 1000);
  EXPECT_EQ(sessions.Append(caller_, id, second.chunk())->stored_positions,
            1500);
}

TEST_F(AttentionSessionsTest, NothingOfABadChunkIsKept) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  AttentionSessions& sessions = cluster.sessions();
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 1000);
  const std::string before = HashOf(*Attend(cluster, id, {1000}));

  ChunkOf nan(keys_, values_, 1000, 1100);
  nan.SetKey((40 * kUnits + 2) * kDim + 5, NAN);
  const auto refused = sessions.Append(caller_, id, nan.chunk());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("position 1040, KV head 2, dimension 5"));
  ChunkOf infinite(keys_, values_, 1000, 1100);
  infinite.SetKey(0, -INFINITY);
  EXPECT_EQ(sessions.Append(caller_, id, infinite.chunk()).status().code(),
            StatusCode::kInvalidArgument);
  ChunkOf changed(keys_, values_, 1000, 1100);
  changed.SpoilHash();
  EXPECT_EQ(sessions.Append(caller_, id, changed.chunk()).status().code(),
            StatusCode::kDataLoss);
  ChunkOf cut(keys_, values_, 1000, 1100);
  cut.CutValues();
  EXPECT_EQ(sessions.Append(caller_, id, cut.chunk()).status().code(),
            StatusCode::kInvalidArgument);

  EXPECT_EQ(sessions.Get(caller_, id)->stored_positions, 1000);
  EXPECT_EQ(HashOf(*Attend(cluster, id, {1000})), before);
  Fill(cluster, id, 1100, 100, 1000);
}

TEST_F(AttentionSessionsTest, NumbersThatStorageCannotHoldAreRefused) {
  TestCluster cluster({});
  AttentionConfig config = Config();
  config.shape.element = KvElement::kFp16;
  const std::string id = Open(cluster, config);
  ChunkOf large(keys_, values_, 0, 10);
  large.SetKey(0, 70'000.0f);
  const auto refused = cluster.sessions().Append(caller_, id, large.chunk());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("too large"));
}

TEST_F(AttentionSessionsTest, AContextBeyondTheLimitIsRefused) {
  TestCluster cluster({});
  const std::string id = Open(cluster, TestConfig(kUnits, kGroup, kDim, 100));
  const ChunkOf chunk(keys_, values_, 0, 101);
  const auto refused = cluster.sessions().Append(caller_, id, chunk.chunk());
  EXPECT_EQ(refused.status().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("max_positions is 100"));
}

TEST_F(AttentionSessionsTest, HostileQueriesAreRefused) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 100);
  const auto code_of = [&](const AttendQuery& query) {
    return cluster.sessions().Attend(caller_, id, query).status().code();
  };
  EXPECT_EQ(code_of(QueryOf({101})), StatusCode::kOutOfRange);
  EXPECT_EQ(code_of(QueryOf({-1})), StatusCode::kOutOfRange);
  EXPECT_EQ(code_of({.query_len = 0, .queries = query_bytes_[0]}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of({.query_len = 4097, .queries = query_bytes_[1]}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of({.query_len = 2, .queries = query_bytes_[1]}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(
      code_of({.query_len = 2, .queries = query_bytes_[2], .visible_end = {1}}),
      StatusCode::kInvalidArgument);
  std::string nan = query_bytes_[1];
  const float bad = NAN;
  std::memcpy(nan.data() + 4 * (2 * kDim + 3), &bad, 4);
  const auto refused =
      cluster.sessions().Attend(caller_, id, {.query_len = 1, .queries = nan});
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("query 0, head 2, dimension 3"));
}

// Finite numbers whose products are not.
TEST_F(AttentionSessionsTest, ScoresBeyondFp32AreAnErrorNotANumber) {
  TestCluster cluster({});
  const std::string id = Open(cluster, Config());
  ChunkOf chunk(keys_, values_, 0, 10);
  for (int64_t d = 0; d < kDim; ++d) chunk.SetKey(d, 1e38f);
  ASSERT_TRUE(cluster.sessions().Append(caller_, id, chunk.chunk()).ok());
  const std::vector<float> large(kHeads * kDim, 1e3f);
  const std::string queries = BytesOf(large.data(), kHeads * kDim);
  const auto answer = cluster.sessions().Attend(
      caller_, id, {.query_len = 1, .queries = queries});
  EXPECT_EQ(answer.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.status().message()),
              HasSubstr("query 0, head 0: the scores"));
}

TEST_F(AttentionSessionsTest, AnAnswerTooLargeForAMessageIsRefused) {
  TestCluster cluster({});
  const std::string id = Open(cluster, TestConfig(16, 64, 256, 64));
  const std::string queries(40 * 1024 * 256 * 4, '\0');
  const auto answer = cluster.sessions().Attend(
      caller_, id, {.query_len = 40, .queries = queries, .all_keys = true});
  EXPECT_EQ(answer.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.status().message()),
              HasSubstr("ask 14 at a time"));
}

TEST_F(AttentionSessionsTest, ProbesEqualTheReferenceOnAnyCluster) {
  const int64_t end = 18'000;
  std::vector<float> expected_mass;
  for (const std::vector<double>& speeds :
       {std::vector<double>{1.0}, {1.0, 0.3, 2.0, 1.0, 1.0}}) {
    TestCluster cluster({.speeds = speeds, .num_threads = 2});
    const std::string id = Open(cluster, Config());
    Fill(cluster, id, kLength);
    AttendQuery query = QueryOf({kLength, end});
    query.probes = {.num_top_keys = 3,
                    .segment_bounds = {0, 4, 10'000, kLength},
                    .entropy = true,
                    .max_bytes = 1 << 20};
    const auto answer = cluster.sessions().Attend(caller_, id, query);
    ASSERT_TRUE(answer.ok()) << answer.status();
    if (expected_mass.empty()) expected_mass = answer->mass;
    EXPECT_EQ(answer->mass, expected_mass);
    const int64_t head = 3;
    std::vector<float> scaled(queries_.row(1, head),
                              queries_.row(1, head) + kDim);
    for (float& x : scaled) x *= 0.25f;
    const ReferenceRow want =
        ReferenceAttention(scaled.data(), keys_, values_, head / kGroup,
                           kLength, [&](int64_t j) { return j < end; });
    const int64_t at = kHeads + head;
    const auto best = std::max_element(want.probs.begin(), want.probs.end());
    EXPECT_EQ(answer->top[3 * at].position, best - want.probs.begin());
    EXPECT_NEAR(answer->top[3 * at].prob, *best, 1e-6);
    double entropy = 0.0;
    double sinks = 0.0;
    for (int64_t j = 0; j < end; ++j) {
      entropy -= want.probs[j] * std::log(want.probs[j]);
      if (j < 4) sinks += want.probs[j];
    }
    EXPECT_NEAR(answer->entropy[at], entropy, 1e-4);
    EXPECT_NEAR(answer->mass[3 * at], sinks, 1e-6);
  }
}

TEST_F(AttentionSessionsTest, ProbesBeyondTheirBudgetAreRefusedWithTheNeed) {
  TestCluster cluster({});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 100);
  AttendQuery query = QueryOf({100, 100});
  query.probes = {.num_top_keys = 10, .entropy = true, .max_bytes = 1000};
  const auto answer = cluster.sessions().Attend(caller_, id, query);
  EXPECT_EQ(answer.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.status().message()),
              HasSubstr("need 1488 bytes, 1000 are allowed"));
  query.probes = {.segment_bounds = {0, 5, 5}, .max_bytes = 1000};
  EXPECT_EQ(cluster.sessions().Attend(caller_, id, query).status().code(),
            StatusCode::kInvalidArgument);
  query.probes = {.num_top_keys = 65, .max_bytes = 1 << 20};
  EXPECT_EQ(cluster.sessions().Attend(caller_, id, query).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace headwise
