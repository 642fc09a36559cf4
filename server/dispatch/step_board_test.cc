#include "server/dispatch/step_board.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/step/step_errors.h"

namespace headwise {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Step> OneSlice(uint64_t step_id, Slice slice = {}) {
  auto step = std::make_shared<Step>();
  step->step_id = step_id;
  if (slice.tokens.empty()) slice.tokens = {1};
  step->slices = {slice};
  return step;
}

StepAnswer Answer(uint64_t step_id, absl::Status status = {}) {
  StepAnswer answer = {.step_id = step_id, .result = StepResult()};
  if (!status.ok()) answer.result = std::move(status);
  return answer;
}

StepAnswer AnswerOfRank0(uint64_t step_id) {
  StepAnswer answer = Answer(step_id);
  answer.result->results.resize(1);
  return answer;
}

constexpr ResultLimits kLimits = {.vocab_size = 10, .model_dim = 3};

// All interleavings of two ranks' in-order answers to three steps: each step
// completes exactly when both have answered it, and in order.
TEST(StepBoardTest, CompletesInOrderForEveryInterleaving) {
  for (int mask = 0; mask < 64; ++mask) {
    if (__builtin_popcount(mask) != 3) continue;
    SCOPED_TRACE(testing::Message() << "mask=" << mask);
    StepBoard board(2, kLimits);
    for (uint64_t id = 5; id < 8; ++id) board.Add(OneSlice(id), nullptr);
    uint64_t answered[2] = {0, 0};
    uint64_t completed = 0;
    for (int turn = 0; turn < 6; ++turn) {
      const size_t rank = mask >> turn & 1;
      StepAnswer answer = rank == 0 ? AnswerOfRank0(5 + answered[rank])
                                    : Answer(5 + answered[rank]);
      ++answered[rank];
      ASSERT_TRUE(board.TakeAnswer(rank, &answer).status.ok());
      while (auto step = board.PopCompleted()) {
        ASSERT_TRUE(step->result.ok());
        EXPECT_EQ(step->result->step_id, 5 + completed);
        ++completed;
      }
      EXPECT_EQ(completed, std::min(answered[0], answered[1]));
    }
    EXPECT_TRUE(board.empty());
  }
}

// The verdict of the last of the ranks, whose draws have these digests.
Verdict VerdictOf(const std::vector<uint64_t>& digests) {
  StepBoard board(digests.size(), kLimits);
  board.Add(OneSlice(5), nullptr);
  Verdict verdict;
  for (size_t rank = 0; rank < digests.size(); ++rank) {
    StepAnswer answer = rank == 0 ? AnswerOfRank0(5) : Answer(5);
    answer.result->draws_digest = digests[rank];
    EXPECT_TRUE(verdict.status.ok()) << "before all have answered";
    verdict = board.TakeAnswer(rank, &answer);
  }
  return verdict;
}

TEST(StepBoardTest, OfRanksThatDrewDifferentlyTheOddOneIsBlamed) {
  EXPECT_TRUE(VerdictOf({7, 7, 7}).status.ok());
  for (const auto& [digests, odd] :
       {std::pair{std::vector<uint64_t>{7, 7, 8}, 2},
        std::pair{std::vector<uint64_t>{8, 7, 7}, 0},
        std::pair{std::vector<uint64_t>{7, 8, 7, 9, 7}, 1}}) {
    const Verdict verdict = VerdictOf(digests);
    EXPECT_EQ(verdict.fault, Verdict::Fault::kWrong);
    EXPECT_EQ(verdict.rank, odd);
    EXPECT_THAT(std::string(verdict.status.message()),
                HasSubstr("drew or scored other than most ranks in step 5"));
  }
}

TEST(StepBoardTest, WithoutAMajorityNobodyIsBlamed) {
  for (const auto& digests :
       {std::vector<uint64_t>{7, 8}, std::vector<uint64_t>{7, 7, 8, 8},
        std::vector<uint64_t>{1, 2, 3}}) {
    const Verdict verdict = VerdictOf(digests);
    EXPECT_EQ(verdict.status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(verdict.fault, Verdict::Fault::kNobodys);
  }
}

TEST(StepBoardTest, TellsHowLongEachRankHasWaited) {
  StepBoard board(3, kLimits);
  board.Add(OneSlice(5), nullptr);
  const double reported[] = {0.25, -1, -1};
  const double in_collectives[] = {1.0, 0.5, 4.0};
  for (size_t rank = 0; rank < 3; ++rank) {
    StepAnswer answer = rank == 0 ? AnswerOfRank0(5) : Answer(5);
    answer.result->compute_seconds = 10.0 + static_cast<double>(rank);
    answer.result->collective_seconds = in_collectives[rank];
    answer.result->wait_seconds = reported[rank];
    answer.result->num_collectives = 4;
    ASSERT_TRUE(board.TakeAnswer(rank, &answer).status.ok());
  }
  const auto step = board.PopCompleted();
  ASSERT_TRUE(step.has_value());
  ASSERT_EQ(step->timings.size(), 3u);
  EXPECT_EQ(step->timings[0].wait_seconds, 0.25) << "as it measured";
  EXPECT_EQ(step->timings[0].transfer_seconds, 0.75);
  EXPECT_EQ(step->timings[1].wait_seconds, 0.0) << "the last to come";
  EXPECT_EQ(step->timings[1].transfer_seconds, 0.5);
  EXPECT_EQ(step->timings[2].wait_seconds, 3.5);
  EXPECT_EQ(step->timings[2].compute_seconds, 12.0);
  EXPECT_EQ(step->timings[2].num_collectives, 4);
}

TEST(StepBoardTest, SameRefusalOfAllRanksIsTheStepsOwn) {
  for (const auto& status : {absl::InvalidArgumentError("position 7"),
                             absl::ResourceExhaustedError("blocks")}) {
    StepBoard board(2, kLimits);
    board.Add(OneSlice(1), nullptr);
    StepAnswer first = Answer(1, status), second = Answer(1, status);
    EXPECT_TRUE(board.TakeAnswer(1, &first).status.ok());
    EXPECT_FALSE(board.PopCompleted().has_value());
    EXPECT_TRUE(board.TakeAnswer(0, &second).status.ok());
    auto step = board.PopCompleted();
    ASSERT_TRUE(step.has_value());
    EXPECT_EQ(step->result.status(), status);
  }
}

TEST(StepBoardTest, RanksThatDisagreeAreAnError) {
  StepBoard board(2, kLimits);
  board.Add(OneSlice(1), nullptr);
  StepAnswer first = AnswerOfRank0(1);
  StepAnswer second = Answer(1, absl::ResourceExhaustedError("blocks"));
  EXPECT_TRUE(board.TakeAnswer(0, &first).status.ok());
  const Verdict verdict = board.TakeAnswer(1, &second);
  EXPECT_EQ(verdict.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(verdict.status.message(), HasSubstr("disagree"));
  EXPECT_EQ(verdict.fault, Verdict::Fault::kNobodys);
}

TEST(StepBoardTest, OtherStatusesNameTheRankAndKeepTheCode) {
  using Code = absl::StatusCode;
  using Fault = Verdict::Fault;
  for (const auto& [code, fault] : std::vector<std::pair<Code, Fault>>{
           {Code::kInternal, Fault::kFailed},
           {Code::kFailedPrecondition, Fault::kFailed},
           {Code::kDataLoss, Fault::kWrong},
           {Code::kUnavailable, Fault::kNobodys},
           {Code::kDeadlineExceeded, Fault::kNobodys},
           {Code::kCancelled, Fault::kNobodys},
           {Code::kAborted, Fault::kNobodys}}) {
    StepBoard board(3, kLimits);
    board.Add(OneSlice(4), nullptr);
    StepAnswer answer = Answer(4, absl::Status(code, "NaN in layer 3"));
    const Verdict verdict = board.TakeAnswer(2, &answer);
    EXPECT_EQ(verdict.status.code(), code);
    EXPECT_EQ(verdict.fault, fault) << verdict.status;
    EXPECT_THAT(verdict.status.message(), HasSubstr("rank 2"));
    EXPECT_THAT(verdict.status.message(), HasSubstr("NaN in layer 3"));
  }
}

// Whose word may come later than theirs, or not at all.
TEST(StepBoardTest, PeersTellWhoseWeightsHaveChanged) {
  for (const auto& [told, blamed] : std::vector<std::pair<std::string, bool>>{
           {"rank 1", true}, {"rank 3", false}, {"rank -1", false}}) {
    StepBoard board(3, kLimits);
    board.Add(OneSlice(4), nullptr);
    StepAnswer answer =
        Answer(4, absl::UnavailableError(absl::StrCat(
                      told, " ended the group: ", kWeightsChanged, "layer 1")));
    const Verdict verdict = board.TakeAnswer(2, &answer);
    EXPECT_EQ(verdict.fault == Verdict::Fault::kWrong, blamed) << told;
    EXPECT_EQ(verdict.rank, blamed ? std::optional<size_t>(1) : std::nullopt);
  }
}

TEST(StepBoardTest, AnswersThatWereNotAskedForAreErrors) {
  StepBoard board(1, kLimits);
  StepAnswer answer = AnswerOfRank0(1);
  EXPECT_FALSE(board.TakeAnswer(0, &answer).status.ok());
  board.Add(OneSlice(1), nullptr);
  answer = AnswerOfRank0(2);
  EXPECT_FALSE(board.TakeAnswer(0, &answer).status.ok());
  answer = AnswerOfRank0(1);
  EXPECT_TRUE(board.TakeAnswer(0, &answer).status.ok());
  answer = AnswerOfRank0(1);
  EXPECT_FALSE(board.TakeAnswer(0, &answer).status.ok()) << "answered twice";
}

// One wrong field at a time, from an answer that is accepted.
TEST(StepBoardTest, ResultMustHaveTheShapeThatTheStepAskedFor) {
  Slice slice;
  slice.sequence_id = 9;
  slice.tokens = {1, 2};
  slice.sample = true;
  slice.sampling.top_logprobs = 1;
  slice.score_targets = {2, -1};
  slice.contrast_plan_id = 3;
  slice.hash_logits = true;
  slice.embed = true;
  StepAnswer good = AnswerOfRank0(1);
  good.result->results[0].sequence_id = 9;
  good.result->results[0].has_token = true;
  good.result->results[0].token = 9;
  good.result->results[0].top = {{9, -0.5f}};
  good.result->results[0].score_logprobs = {-1.0f, 0.0f};
  good.result->results[0].contrast_logprobs = {-2.0f, 0.0f};
  good.result->results[0].logits_digests.resize(2);
  good.result->results[0].hidden.resize(6);

  const auto take = [&](StepAnswer answer) {
    StepBoard board(1, kLimits);
    board.Add(OneSlice(1, slice), nullptr);
    const Verdict verdict = board.TakeAnswer(0, &answer);
    EXPECT_EQ(verdict.fault, verdict.status.ok() ? Verdict::Fault::kNobodys
                                                 : Verdict::Fault::kWrong);
    return verdict.status.ok();
  };
  EXPECT_TRUE(take(good));
  const auto broken = [&](auto change) {
    StepAnswer bad = good;
    change(bad.result->results);
    return !take(std::move(bad));
  };
  EXPECT_TRUE(broken([](auto& s) { s.clear(); }));
  EXPECT_TRUE(broken([](auto& s) { s.push_back(s[0]); }));
  EXPECT_TRUE(broken([](auto& s) { s[0].sequence_id = 8; }));
  EXPECT_TRUE(broken([](auto& s) { s[0].has_token = false; }));
  EXPECT_TRUE(broken([](auto& s) { s[0].token = 10; }));
  EXPECT_TRUE(broken([](auto& s) { s[0].token = -1; }));
  EXPECT_TRUE(broken([](auto& s) { s[0].top.push_back({1, -1.0f}); }));
  EXPECT_TRUE(broken([](auto& s) { s[0].top[0].token = 10; }));
  EXPECT_TRUE(broken([](auto& s) { s[0].score_logprobs.pop_back(); }));
  EXPECT_TRUE(broken([](auto& s) { s[0].contrast_logprobs.clear(); }));
  EXPECT_TRUE(broken([](auto& s) { s[0].logits_digests.resize(3); }));
  EXPECT_TRUE(broken([](auto& s) { s[0].hidden.pop_back(); }));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    EXPECT_TRUE(broken([&](auto& s) { s[0].logprob = bad; }));
    EXPECT_TRUE(broken([&](auto& s) { s[0].top[0].logprob = bad; }));
    EXPECT_TRUE(broken([&](auto& s) { s[0].score_logprobs[1] = bad; }));
    EXPECT_TRUE(broken([&](auto& s) { s[0].contrast_logprobs[0] = bad; }));
    EXPECT_TRUE(broken([&](auto& s) { s[0].hidden[5] = bad; }));
  }
}

TEST(StepBoardTest, UnaskedExtrasAreRefused) {
  StepBoard board(1, kLimits);
  board.Add(OneSlice(1), nullptr);
  StepAnswer answer = AnswerOfRank0(1);
  answer.result->results[0].hidden.resize(3);
  EXPECT_FALSE(board.TakeAnswer(0, &answer).status.ok());
}

TEST(StepBoardTest, ClearHandsBackTheCallbacksOldestFirst) {
  StepBoard board(2, kLimits);
  std::vector<int> called;
  board.Add(OneSlice(1), [&](auto) { called.push_back(1); });
  board.Add(OneSlice(2), [&](auto) { called.push_back(2); });
  EXPECT_EQ(board.num_rows(), 2);
  for (StepDone& done : board.Clear()) done(absl::CancelledError());
  EXPECT_THAT(called, testing::ElementsAre(1, 2));
  EXPECT_TRUE(board.empty());
  EXPECT_EQ(board.num_rows(), 0);
}

TEST(StepBoardTest, ASequenceIsParkedOnceAllRanksHaveParkedIt) {
  StepBoard board(2, kLimits);
  auto step = std::make_shared<Step>();
  step->step_id = 1;
  step->parks.resize(2);
  board.Add(step, nullptr);
  StepAnswer first = Answer(1), second = Answer(1), none = Answer(1);
  first.result->parks = {{absl::OkStatus(), 100}, {absl::OkStatus(), 10}};
  second.result->parks = {{absl::OkStatus(), 200},
                          {absl::ResourceExhaustedError("disk"), 0}};
  ASSERT_TRUE(board.TakeAnswer(0, &first).status.ok());
  EXPECT_EQ(board.TakeAnswer(1, &none).fault, Verdict::Fault::kWrong);
  ASSERT_TRUE(board.TakeAnswer(1, &second).status.ok());
  const auto done = board.PopCompleted();
  ASSERT_TRUE(done.has_value() && done->result.ok());
  ASSERT_EQ(done->result->parks.size(), 2u);
  EXPECT_TRUE(done->result->parks[0].status.ok());
  EXPECT_EQ(done->result->parks[0].bytes, 300);
  EXPECT_EQ(done->result->parks[0].rank_bytes,
            (std::vector<int64_t>{100, 200}));
  EXPECT_EQ(done->result->parks[1].status,
            absl::ResourceExhaustedError("rank 1: disk"));
}

}  // namespace
}  // namespace headwise
