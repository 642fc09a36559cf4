// Who loses the memory of his idle prefix, and what he gets of it again.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

// There is room for 1,024 positions, in blocks of 64.
class SchedulerEvictionTest : public SchedulerTest {
 protected:
  uint64_t Hold(int64_t length, bool may_evict = true, uint64_t fork_from = 0) {
    EngineRequest request = Generate(length, 0);
    request.kind = WorkKind::kPrefix;
    request.may_evict = may_evict;
    request.fork_from = fork_from;
    const uint64_t id = Submit(std::move(request));
    RunAll();
    return id;
  }
  EngineRequest Fork(uint64_t prefix, int64_t max_new_tokens = 3) {
    EngineRequest request = Generate(5, max_new_tokens);
    request.fork_from = prefix;
    return request;
  }
  // Of each request, to the end of all.
  std::map<uint64_t, std::vector<int32_t>> Answers() {
    RunAll();
    std::map<uint64_t, std::vector<int32_t>> tokens;
    for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
      if (event.kind == SchedulerEvent::Kind::kToken) {
        tokens[event.request_id].push_back(event.outcome.token);
      }
      EXPECT_TRUE(event.status.ok()) << event.status;
    }
    return tokens;
  }
  // After the prefixes of those lengths, each a fork of the one before it.
  static std::vector<int32_t> ExpectedAfter(const std::vector<int64_t>& lengths,
                                            const EngineRequest& request) {
    ModelPast past;
    for (const int64_t length : lengths) {
      const std::vector<int32_t> prompt = Generate(length, 0).prompt;
      past.tokens.insert(past.tokens.end(), prompt.begin(), prompt.end());
      past.tag = TagUnder(past.tag, nullptr);
    }
    return ExpectedAnswerOf(request, past).tokens;
  }
  // 7 blocks each, and 3 of each fork: 2 are left, so neither fork fits beside
  // both prefixes.
  void HoldTwoThatLeaveNoRoom(bool may_evict) {
    for (const uint64_t id : {Hold(400, may_evict), Hold(400, may_evict)}) {
      prefixes_.push_back(id);
      forks_.push_back(Submit(Fork(id, 150)));
    }
  }
  int64_t num_evicted() const { return scheduler_->stats().evicted; }

  std::vector<uint64_t> prefixes_;
  std::vector<uint64_t> forks_;
};

TEST_F(SchedulerEvictionTest, TheIdlestPrefixMakesRoomAndComesBack) {
  const uint64_t a = Hold(400);
  const uint64_t b = Hold(400);
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(2 * 448 * 100));
  Submit(Generate(300, 10));
  EXPECT_THAT(Next(), Contains("free " + std::to_string(a)));
  EXPECT_EQ(num_evicted(), 1);
  EXPECT_THAT(scheduler_->stats().kv_bytes_used,
              ElementsAre((448 + 320) * 100));
  const uint64_t fork = Submit(Fork(a));
  EXPECT_EQ(Answers().at(fork), ExpectedAfter({400}, Fork(a)));
  EXPECT_EQ(scheduler_->stats().held, 2);
  // B went for it.
  EXPECT_EQ(num_evicted(), 1);
  const uint64_t other = Submit(Fork(b));
  EXPECT_EQ(Answers().at(other), ExpectedAfter({400}, Fork(b)));
  EXPECT_EQ(scheduler_->stats().evictions_total, 2u);
}

TEST_F(SchedulerEvictionTest, WhatWasUsedLaterStays) {
  const uint64_t a = Hold(400);
  const uint64_t b = Hold(400);
  Submit(Fork(a));
  Answers();
  Submit(Generate(300, 10));
  EXPECT_THAT(Next(), Contains("free " + std::to_string(b)));
}

TEST_F(SchedulerEvictionTest, WhatIsInUseOrPromisedStays) {
  Hold(400, /*may_evict=*/false);
  const uint64_t used = Hold(400);
  const uint64_t fork = Submit(Fork(used, 50));
  Next();
  const uint64_t waits = Submit(Generate(300, 10));
  for (int i = 0; i < 5; ++i) {
    Next();
    Answer();
  }
  EXPECT_EQ(num_evicted(), 0);
  EXPECT_EQ(scheduler_->stats().waiting, 1);
  const auto answers = Answers();  // the fork ends, then it is the other's turn
  EXPECT_EQ(answers.at(fork).size(), 50u);
  EXPECT_EQ(answers.at(waits), ExpectedAnswerOf(Generate(300, 10)).tokens);
}

TEST_F(SchedulerEvictionTest, NothingIsEvictedInVain) {
  Hold(400);
  Submit(Generate(500, 10));
  Next();
  Submit(Generate(900, 10));
  Answer();
  Next();
  EXPECT_EQ(num_evicted(), 0);
  EXPECT_EQ(scheduler_->stats().waiting, 1);
  Answers();  // once the other has ended it is not in vain
  EXPECT_EQ(scheduler_->stats().evictions_total, 1u);
}

// Pieces of an upload are each a prefix that begins with the last.
TEST_F(SchedulerEvictionTest, APrefixOfPiecesGoesAndComesBackWhole) {
  const uint64_t first = Hold(100);
  const uint64_t second = Hold(150, true, first);
  scheduler_->Release(first, now_);
  const uint64_t whole = Hold(100, true, second);
  scheduler_->Release(second, now_);
  Submit(Generate(900, 1));
  Answers();
  EXPECT_EQ(num_evicted(), 1);
  EXPECT_EQ(scheduler_->stats().held, 1);
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
  EXPECT_EQ(workers_->num_sequences(), 0);
  const uint64_t fork = Submit(Fork(whole));
  EXPECT_EQ(Answers().at(fork), ExpectedAfter({100, 150, 100}, Fork(whole)));
}

// 7 blocks each, and 3 of each fork: 17 of 16 if both came back at once.
TEST_F(SchedulerEvictionTest, PrefixesThatComeBackLeaveRoomForWhatUsesThem) {
  const uint64_t a = Hold(400);
  const uint64_t b = Hold(400);
  Submit(Generate(900, 1));
  Answers();
  ASSERT_EQ(num_evicted(), 2);
  const uint64_t of_a = Submit(Fork(a, 150));
  const uint64_t of_b = Submit(Fork(b, 150));
  const auto answers = Answers();
  EXPECT_EQ(answers.at(of_a), ExpectedAfter({400}, Fork(a, 150)));
  EXPECT_EQ(answers.at(of_b), ExpectedAfter({400}, Fork(b, 150)));
}

TEST_F(SchedulerEvictionTest, ReleasedPrefixesDoNotWaitForEachOther) {
  HoldTwoThatLeaveNoRoom(/*may_evict=*/false);
  EXPECT_THAT(Next(), IsEmpty()) << "both were promised to stay";
  for (const uint64_t id : prefixes_) scheduler_->Release(id, now_);
  const auto answers = Answers();
  ASSERT_EQ(answers.size(), 2u);
  for (const uint64_t fork : forks_) {
    EXPECT_EQ(answers.at(fork), ExpectedAfter({400}, Fork(1, 150)));
  }
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(scheduler_->stats().held, 0);
  EXPECT_EQ(workers_->num_sequences(), 0);
}

TEST_F(SchedulerEvictionTest, IdleSessionsDoNotWaitForEachOther) {
  HoldTwoThatLeaveNoRoom(/*may_evict=*/true);
  EXPECT_THAT(Next(), Contains("free " + std::to_string(prefixes_[1])))
      << "whose fork comes later";
  const auto answers = Answers();
  ASSERT_EQ(answers.size(), 2u);
  for (const uint64_t fork : forks_) {
    EXPECT_EQ(answers.at(fork), ExpectedAfter({400}, Fork(1, 150)));
  }
  EXPECT_EQ(scheduler_->stats().evictions_total, 2u);
}

// Two uploads, whose next pieces do not fit beside what has come of both.
TEST_F(SchedulerEvictionTest, UploadsDoNotWaitForEachOther) {
  std::vector<uint64_t> wholes;
  for (const uint64_t first : {Hold(400), Hold(400)}) {
    EngineRequest piece = Generate(150, 0);
    piece.kind = WorkKind::kPrefix;
    piece.may_evict = true;
    piece.fork_from = first;
    wholes.push_back(Submit(std::move(piece)));
    scheduler_->Release(first, now_);
  }
  Answers();
  EXPECT_EQ(scheduler_->stats().waiting, 0);
  for (const uint64_t whole : wholes) {
    const uint64_t fork = Submit(Fork(whole));
    EXPECT_EQ(Answers().at(fork), ExpectedAfter({400, 150}, Fork(whole)));
  }
}

// They can't become one prefix: each piece is run again under its own plan.
TEST_F(SchedulerEvictionTest, PiecesUnderSeveralPlansGoAndComeBack) {
  HeadPlan scaled = FullPlan(1, 1, 1);
  scaled.heads[0].output_scale = 2;
  const auto plan = std::make_shared<const HeadPlan>(scaled);
  for (int i = 0; i < 2; ++i) {
    const uint64_t first = Hold(200, /*may_evict=*/false);
    EngineRequest piece = Generate(200, 0);
    piece.kind = WorkKind::kPrefix;
    piece.plan = plan;
    piece.fork_from = first;
    prefixes_.insert(prefixes_.end(), {first, Submit(std::move(piece))});
    RunAll();
  }
  EngineRequest fork = Fork(prefixes_[1], 150);
  fork.plan = plan;
  forks_.push_back(Submit(fork));
  fork.fork_from = prefixes_[3];
  forks_.push_back(Submit(fork));
  for (const uint64_t id : prefixes_) scheduler_->Release(id, now_);
  const auto answers = Answers();
  ModelPast past;
  for (const HeadPlan* piece_plan : {(const HeadPlan*)nullptr, plan.get()}) {
    const std::vector<int32_t> prompt = Generate(200, 0).prompt;
    past.tokens.insert(past.tokens.end(), prompt.begin(), prompt.end());
    past.tag = TagUnder(past.tag, piece_plan);
  }
  for (const uint64_t id : forks_) {
    ASSERT_TRUE(answers.contains(id));
    EXPECT_EQ(answers.at(id), ExpectedAnswerOf(fork, past).tokens);
  }
  EXPECT_GT(scheduler_->stats().evictions_total, 0u);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(workers_->num_sequences(), 0);
}

// Who holds that prefix may wait for its fork before it lets go.
TEST_F(SchedulerEvictionTest, AForkThatPassesWhatCannotFitTakesIdleMemory) {
  const uint64_t promised = Hold(400, /*may_evict=*/false);
  Hold(400);
  const uint64_t big = Submit(Generate(700, 1));
  const uint64_t fork = Submit(Fork(promised, 150));
  EXPECT_TRUE(Answers().contains(fork));
  EXPECT_EQ(scheduler_->stats().waiting, 1);
  scheduler_->Release(promised, now_);
  EXPECT_TRUE(Answers().contains(big));
}

TEST_F(SchedulerEvictionTest, IdleMemoryDoesNotKeepTheBackgroundOut) {
  Hold(400);
  Hold(400);
  EngineRequest request = Generate(400, 0);
  request.kind = WorkKind::kScore;
  request.is_background = true;
  const uint64_t id = Submit(std::move(request));
  scheduler_->TakeEvents();
  RunAll();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(id, absl::StatusCode::kOk)));
  EXPECT_EQ(num_evicted(), 1);
}

TEST_F(SchedulerEvictionTest, NoMoreThanSoManyAreIdleInMemory) {
  EngineOptions options = Options();
  options.kv_capacity = CapacityOf(64 * 2000);
  Use(options);
  for (int64_t i = 0; i < kMaxIdlePrefixes + 6; ++i) Hold(1);
  EXPECT_EQ(scheduler_->stats().held, kMaxIdlePrefixes + 6);
  EXPECT_EQ(num_evicted(), 6);
  EXPECT_EQ(workers_->num_sequences(), kMaxIdlePrefixes);
}

TEST_F(SchedulerEvictionTest, AnEvictedPrefixIsReleasedLikeAnyOther) {
  const uint64_t a = Hold(400);
  Submit(Generate(900, 1));
  Answers();
  EXPECT_EQ(num_evicted(), 1);
  scheduler_->Release(a, now_);
  EXPECT_EQ(scheduler_->stats().held, 0);
  EXPECT_EQ(scheduler_->Submit(Fork(a), now_).status().code(),
            absl::StatusCode::kNotFound);
  RunAll();
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerEvictionTest, ALossOfTheGroupChangesNothing) {
  const uint64_t a = Hold(400);
  Submit(Generate(900, 1));
  Answers();
  EXPECT_EQ(num_evicted(), 1);
  LoseGroup();
  const uint64_t fork = Submit(Fork(a));
  EXPECT_EQ(Answers().at(fork), ExpectedAfter({400}, Fork(a)));
}

}  // namespace
}  // namespace headwise
