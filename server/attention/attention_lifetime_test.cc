// Forks, tenants, limits, and what becomes of a session when workers fail.

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/head_plan_check.h"
#include "server/attention/attention_sessions_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

TEST_F(AttentionSessionsTest, AForkGrowsAloneAndSurvivesItsParent) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  AttentionSessions& sessions = cluster.sessions();
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 9000);
  const std::string before = HashOf(*Attend(cluster, id, {9000}));
  const auto fork = sessions.Fork(caller_, id);
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(fork->stored_positions, 9000);
  EXPECT_NE(fork->session_id, id);
  const RandomTensor other(kLength, kUnits, kDim, 77);
  const ChunkOf tail(other, other, 9000, 9500);
  ASSERT_TRUE(sessions.Append(caller_, fork->session_id, tail.chunk()).ok());
  EXPECT_EQ(HashOf(*Attend(cluster, id, {9000})), before);
  EXPECT_EQ(sessions.Get(caller_, id)->stored_positions, 9000);
  ASSERT_TRUE(sessions.Delete(caller_, id).ok());
  EXPECT_EQ(HashOf(*Attend(cluster, fork->session_id, {9000})), before);
  ASSERT_TRUE(sessions.Delete(caller_, fork->session_id).ok());
  EXPECT_EQ(cluster.committed_bytes(), 0);
  EXPECT_EQ(sessions.stats().reserved_bytes, 0);
}

TEST_F(AttentionSessionsTest, ASessionOfAnotherTenantDoesNotExist) {
  TestCluster cluster({});
  AttentionSessions& sessions = cluster.sessions();
  const Caller other = {.tenant = "other"};
  const std::string id = Open(cluster, Config());
  const ChunkOf chunk(keys_, values_, 0, 10);
  // But for the name that it was asked by.
  const auto told = [](const absl::Status& status) {
    return absl::Status(status.code(), status.message());
  };
  const absl::Status unknown = told(sessions.Get(other, "nothing").status());
  EXPECT_EQ(unknown.code(), StatusCode::kNotFound);
  EXPECT_EQ(told(sessions.Get(other, id).status()), unknown);
  EXPECT_EQ(told(sessions.Append(other, id, chunk.chunk()).status()), unknown);
  EXPECT_EQ(told(sessions.Attend(other, id, QueryOf({0})).status()), unknown);
  EXPECT_EQ(told(sessions.Fork(other, id).status()), unknown);
  EXPECT_EQ(told(sessions.Delete(other, id)), unknown);
  EXPECT_TRUE(sessions.List(other).empty());
  EXPECT_EQ(sessions.List(caller_).size(), 1u);
}

TEST_F(AttentionSessionsTest, OpenRefusesWhatDoesNotFitAndLeavesNothing) {
  TestCluster cluster({.speeds = {1.0, 3.0}, .capacity_bytes = 8 << 20});
  // A quarter of 3 units fits the first worker, the rest not the second.
  AttentionConfig config = TestConfig(kUnits, kGroup, kDim, 40'000);
  const auto refused = cluster.sessions().Open(caller_, config);
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()),
              testing::MatchesRegex(
                  "worker w1: the session needs [0-9]+ bytes, 8388608 of "
                  "8388608 are available"));
  EXPECT_EQ(cluster.committed_bytes(), 0);
  EXPECT_EQ(cluster.sessions().stats().count, 0);
}

TEST_F(AttentionSessionsTest, ConfigsOutOfRangeAreRefusedByName) {
  TestCluster cluster({});
  const auto message = [&](const AttentionConfig& config) {
    const auto opened = cluster.sessions().Open(caller_, config);
    EXPECT_EQ(opened.status().code(), StatusCode::kInvalidArgument);
    return std::string(opened.status().message());
  };
  AttentionConfig config = Config();
  config.shape.head_dim = 24;
  EXPECT_THAT(message(config), HasSubstr("head_dim"));
  config = Config();
  config.shape.num_kv_heads = 257;
  EXPECT_THAT(message(config), HasSubstr("num_kv_heads"));
  config = Config();
  config.softmax_scale = NAN;
  EXPECT_THAT(message(config), HasSubstr("softmax_scale"));
  config = Config();
  config.policies[2] = {.kind = PolicyKind::kStreaming,
                        .window = kMaxPlanWindow + 1};
  EXPECT_THAT(message(config), HasSubstr("policies[2]"));
  config = Config();
  config.ttl = absl::Hours(25);
  EXPECT_THAT(message(config), HasSubstr("ttl_seconds"));
  config = Config();
  config.shape.max_positions = kMaxSessionPositions + 1;
  EXPECT_THAT(message(config), HasSubstr("max_positions"));
}

TEST_F(AttentionSessionsTest, NoMoreSessionsThanTheLimit) {
  TestCluster cluster({.max_sessions = 2});
  Open(cluster, Config());
  Open(cluster, Config());
  const int64_t before = cluster.committed_bytes();
  const auto third = cluster.sessions().Open(caller_, Config());
  EXPECT_EQ(third.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(cluster.committed_bytes(), before);
}

TEST_F(AttentionSessionsTest, WithoutWorkersOpenIsUnavailable) {
  TestCluster cluster({});
  cluster.KillWorker(0);
  EXPECT_EQ(cluster.sessions().Open(caller_, Config()).status().code(),
            StatusCode::kUnavailable);
}

TEST_F(AttentionSessionsTest, IdleSessionsExpireAndGiveTheirBytesBack) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  AttentionConfig config = Config();
  config.ttl = absl::Seconds(30);
  const std::string id = Open(cluster, config);
  for (int i = 0; i < 3; ++i) {
    cluster.clock().Advance(absl::Seconds(20));
    cluster.sessions().Step();
    EXPECT_TRUE(cluster.sessions().Get(caller_, id).ok());
  }
  cluster.clock().Advance(absl::Seconds(31));
  cluster.sessions().Step();
  EXPECT_EQ(cluster.sessions().Get(caller_, id).status().code(),
            StatusCode::kNotFound);
  EXPECT_EQ(cluster.committed_bytes(), 0);
}

TEST_F(AttentionSessionsTest, StepKeepsALongLivedSessionAtItsWorkers) {
  TestCluster cluster({});
  AttentionConfig config = Config();
  config.ttl = absl::Hours(1);
  const std::string id = Open(cluster, config);
  Fill(cluster, id, 10);
  for (int i = 0; i < 5; ++i) {
    cluster.clock().Advance(absl::Seconds(50));
    cluster.sessions().Step();
  }
  EXPECT_TRUE(Attend(cluster, id, {10}).ok());
}

TEST_F(AttentionSessionsTest, ADeadWorkerIsDataLossByName) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 100);
  cluster.KillWorker(1);
  const ChunkOf chunk(keys_, values_, 100, 200);
  const absl::Status lost = Attend(cluster, id, {100}).status();
  EXPECT_EQ(lost.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(lost.message()), HasSubstr("worker w1 is gone"));
  EXPECT_EQ(cluster.sessions().Append(caller_, id, chunk.chunk()).status(),
            lost);
  EXPECT_EQ(cluster.sessions().Fork(caller_, id).status(), lost);
  EXPECT_THAT(cluster.sessions().Get(caller_, id)->lost,
              HasSubstr("worker w1 is gone"));
  EXPECT_TRUE(cluster.sessions().Delete(caller_, id).ok());
}

// Fails while a failure is set; calls a hook before it attends.
class FailingLink final : public AttentionLink {
 public:
  FailingLink(std::shared_ptr<AttentionLink> link, absl::Status* failure,
              std::function<void()>* before_attend = nullptr)
      : link_(std::move(link)),
        failure_(failure),
        before_attend_(before_attend) {}

  void Open(OpenPartRequest request, absl::Duration timeout,
            Done<int64_t> done) override {
    link_->Open(std::move(request), timeout, std::move(done));
  }
  void Stage(StageRequest request, absl::Duration timeout,
             Done<Nothing> done) override {
    if (!failure_->ok()) return done(*failure_);
    link_->Stage(std::move(request), timeout, std::move(done));
  }
  void Attend(AttendPartRequest request, absl::Duration timeout,
              Done<AttendPartResult> done) override {
    if (before_attend_ != nullptr && *before_attend_) (*before_attend_)();
    if (absl::IsInternal(*failure_)) {
      // Answers, but leaves a range out.
      return link_->Attend(std::move(request), timeout,
                           [done](absl::StatusOr<AttendPartResult> result) {
                             if (result.ok())
                               result->units.back().parts.pop_back();
                             done(std::move(result));
                           });
    }
    if (!failure_->ok()) return done(*failure_);
    link_->Attend(std::move(request), timeout, std::move(done));
  }
  void Probe(ProbePartRequest request, absl::Duration timeout,
             Done<ProbePartResult> done) override {
    link_->Probe(std::move(request), timeout, std::move(done));
  }
  void Fork(const std::string& session_id, const std::string& fork_id,
            int64_t length, absl::Duration timeout,
            Done<int64_t> done) override {
    if (!failure_->ok()) return done(*failure_);
    link_->Fork(session_id, fork_id, length, timeout, std::move(done));
  }
  void Export(const std::string& session_id, const BlockRun& run,
              int64_t length, absl::Duration timeout,
              Done<std::string> done) override {
    link_->Export(session_id, run, length, timeout, std::move(done));
  }
  void Import(const std::string& session_id, const BlockRun& run,
              std::string data, absl::Duration timeout,
              Done<Nothing> done) override {
    link_->Import(session_id, run, std::move(data), timeout, std::move(done));
  }
  void Delete(const std::string& session_id, absl::Duration timeout,
              Done<Nothing> done) override {
    link_->Delete(session_id, timeout, std::move(done));
  }
  void Renew(std::vector<std::string> session_ids, absl::Duration timeout,
             Done<std::vector<std::string>> done) override {
    link_->Renew(std::move(session_ids), timeout, std::move(done));
  }

 private:
  const std::shared_ptr<AttentionLink> link_;
  absl::Status* const failure_;
  std::function<void()>* const before_attend_;
};

class FailingWorkerTest : public AttentionSessionsTest {
 protected:
  absl::Status failure_;  // of worker 1
  TestCluster cluster_{
      {.speeds = {1.0, 1.0},
       .wrap = [this](int worker, std::shared_ptr<AttentionLink> link)
           -> std::shared_ptr<AttentionLink> {
         if (worker != 1) return link;
         return std::make_shared<FailingLink>(std::move(link), &failure_);
       }}};
};

TEST_F(FailingWorkerTest, AChunkThatOneWorkerRefusedIsNotStored) {
  const std::string id = Open(cluster_, Config());
  Fill(cluster_, id, 1000);
  const std::string before = HashOf(*Attend(cluster_, id, {1000}));
  failure_ = absl::UnavailableError("connection reset");
  const ChunkOf chunk(keys_, values_, 1000, 2000);
  const auto stored = cluster_.sessions().Append(caller_, id, chunk.chunk());
  EXPECT_EQ(stored.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(stored.status().message()), HasSubstr("worker w1"));
  EXPECT_EQ(cluster_.sessions().Get(caller_, id)->stored_positions, 1000);
  failure_ = absl::OkStatus();
  EXPECT_EQ(HashOf(*Attend(cluster_, id, {1000})), before);
  // Other bytes for the same positions: what the first worker had staged has
  // no effect.
  const RandomTensor other(kLength, kUnits, kDim, 55);
  TestCluster single({});
  const std::string wanted = Open(single, Config());
  Fill(single, wanted, 1000);
  const ChunkOf tail(other, other, 1000, 1400);
  ASSERT_TRUE(cluster_.sessions().Append(caller_, id, tail.chunk()).ok());
  ASSERT_TRUE(single.sessions().Append(caller_, wanted, tail.chunk()).ok());
  EXPECT_EQ(HashOf(*Attend(cluster_, id, {1400})),
            HashOf(*Attend(single, wanted, {1400})));
}

TEST_F(FailingWorkerTest, AnAnswerWithoutARangeIsAnError) {
  const std::string id = Open(cluster_, Config());
  Fill(cluster_, id, 2000);
  failure_ = absl::InternalError("");
  const auto answer = Attend(cluster_, id, {2000});
  EXPECT_EQ(answer.status().code(), StatusCode::kInternal);
  EXPECT_THAT(std::string(answer.status().message()),
              HasSubstr("worker w1: answered ranges"));
}

TEST_F(FailingWorkerTest, AWorkerThatDoesNotKnowTheSessionHasLostIt) {
  const std::string id = Open(cluster_, Config());
  Fill(cluster_, id, 100);
  failure_ = absl::NotFoundError("restarted");
  EXPECT_EQ(Attend(cluster_, id, {100}).status().code(), StatusCode::kDataLoss);
  failure_ = absl::OkStatus();
  EXPECT_EQ(Attend(cluster_, id, {100}).status().code(), StatusCode::kDataLoss);
}

TEST_F(FailingWorkerTest, WhatWasDroppedMeanwhileIsAborted) {
  const std::string id = Open(cluster_, Config());
  Fill(cluster_, id, 100);
  failure_ = absl::FailedPreconditionError("position 7 is not held any more");
  EXPECT_EQ(Attend(cluster_, id, {100}).status().code(), StatusCode::kAborted);
}

// Workers forget a session that is deleted while a query is under way.
TEST_F(AttentionSessionsTest, ASessionDeletedDuringACallIsNotFound) {
  absl::Status none;
  std::function<void()> before_attend;
  TestCluster cluster({.wrap = [&](int, std::shared_ptr<AttentionLink> link)
                           -> std::shared_ptr<AttentionLink> {
    return std::make_shared<FailingLink>(std::move(link), &none,
                                         &before_attend);
  }});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 100);
  before_attend = [&] {
    EXPECT_TRUE(cluster.sessions().Delete(caller_, id).ok());
  };
  EXPECT_EQ(Attend(cluster, id, {100}).status().code(), StatusCode::kNotFound);
}

TEST_F(FailingWorkerTest, AForkThatOneWorkerRefusedLeavesNothing) {
  const std::string id = Open(cluster_, Config());
  Fill(cluster_, id, 100);
  const int64_t before = cluster_.committed_bytes();
  failure_ = absl::ResourceExhaustedError("full");
  EXPECT_EQ(cluster_.sessions().Fork(caller_, id).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(cluster_.committed_bytes(), before);
  EXPECT_EQ(cluster_.sessions().stats().count, 1);
}

TEST_F(AttentionSessionsTest, ACallerThatHasLeftIsNotServed) {
  TestCluster cluster({});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 100);
  Caller gone;
  gone.is_cancelled = [] { return true; };
  EXPECT_EQ(cluster.sessions().Attend(gone, id, QueryOf({100})).status().code(),
            StatusCode::kCancelled);
  Caller late;
  late.deadline = cluster.clock().Now();
  EXPECT_EQ(cluster.sessions().Attend(late, id, QueryOf({100})).status().code(),
            StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace headwise
