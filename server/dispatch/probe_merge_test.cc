#include "server/dispatch/probe_merge.h"

#include <cmath>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/step_board.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr ProbeShape kShape = {.num_layers = 2, .num_heads = 2};

// Rows 5 and 6, argmax and one set.
Slice Probed() {
  Slice slice;
  slice.sequence_id = 9;
  slice.first_position = 5;
  slice.tokens = {1, 2};
  slice.probe = {.argmax = true, .distance_sets = {{1, 2}}};
  return slice;
}

HeadProbe Probe(int32_t layer, int32_t head) {
  return {.layer = layer,
          .head = head,
          .argmax = {5, 6},
          .argmax_prob = {0.5f, 1.0f},
          .distance_probs = {0.0f, 0.25f}};
}

TEST(CheckProbesTest, EachFieldMustBeWhatWasAskedFor) {
  const auto check = [](auto change) {
    HeadProbe probe = Probe(1, 1);
    change(probe);
    return std::string(CheckProbes(Probed(), {probe}, kShape).message());
  };
  EXPECT_EQ(check([](auto&) {}), "");
  EXPECT_THAT(check([](auto& p) { p.layer = 2; }), HasSubstr("2 layers"));
  EXPECT_THAT(check([](auto& p) { p.layer = -1; }), HasSubstr("layer -1"));
  EXPECT_THAT(check([](auto& p) { p.head = 2; }), HasSubstr("of 2 heads"));
  EXPECT_THAT(check([](auto& p) { p.head = -1; }), HasSubstr("head -1"));
  EXPECT_THAT(check([](auto& p) { p.argmax.pop_back(); }),
              HasSubstr("1 argmax, expected 2"));
  EXPECT_THAT(check([](auto& p) { p.argmax_prob.clear(); }),
              HasSubstr("0 argmax_prob"));
  EXPECT_THAT(check([](auto& p) { p.distance_probs.resize(4); }),
              HasSubstr("4 distance_probs"));
  EXPECT_THAT(check([](auto& p) { p.argmax[0] = 6; }),
              HasSubstr("argmax 6 at position 5"));
  EXPECT_THAT(check([](auto& p) { p.argmax[0] = -1; }), HasSubstr("argmax -1"));
  EXPECT_THAT(check([](auto& p) { p.argmax_prob[1] = 1.1f; }),
              HasSubstr("probability 1.1"));
  EXPECT_THAT(check([](auto& p) { p.distance_probs[0] = std::nanf(""); }),
              HasSubstr("probability nan"));
  Slice silent = Probed();
  silent.probe = {};
  EXPECT_THAT(CheckProbes(silent, {Probe(0, 0)}, kShape).message(),
              HasSubstr("asked for none"));
}

TEST(OrderProbesTest, LayersFirstAndEachHeadOnce) {
  std::vector<HeadProbe> probes = {Probe(1, 0), Probe(0, 1), Probe(1, 1),
                                   Probe(0, 0)};
  ASSERT_TRUE(OrderProbes(kShape, &probes).ok());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(probes[i].layer, i / 2);
    EXPECT_EQ(probes[i].head, i % 2);
  }
  probes[3] = Probe(0, 0);
  EXPECT_THAT(OrderProbes(kShape, &probes).message(), HasSubstr("came twice"));
  probes.pop_back();
  EXPECT_THAT(OrderProbes(kShape, &probes).message(),
              HasSubstr("3 probes, expected 4"));
}

// Rank 0 holds head 0 of both layers, rank 1 the others; the second slice asks
// for nothing.
class ProbedStepTest : public testing::Test {
 protected:
  ProbedStepTest() {
    auto step = std::make_shared<Step>();
    step->step_id = 1;
    step->slices = {Probed(), Slice{.sequence_id = 8, .tokens = {3}}};
    board_.Add(step, nullptr);
  }
  static StepAnswer AnswerOf(int32_t rank) {
    StepResult result;
    result.results.resize(2);
    result.results[0].sequence_id = 9;
    result.results[1].sequence_id = 8;
    result.results[0].probes = {Probe(0, rank), Probe(1, rank)};
    return {.step_id = 1, .result = std::move(result)};
  }
  Verdict Take(int32_t rank, StepAnswer answer) {
    return board_.TakeAnswer(rank, &answer);
  }
  StepBoard board_{2, {.vocab_size = 10, .model_dim = 3, .probes = kShape}};
};

TEST_F(ProbedStepTest, ProbesOfAllRanksAreJoined) {
  ASSERT_TRUE(Take(1, AnswerOf(1)).status.ok());
  ASSERT_TRUE(Take(0, AnswerOf(0)).status.ok());
  const auto completed = board_.PopCompleted();
  ASSERT_TRUE(completed.has_value() && completed->result.ok());
  const std::vector<SliceResult>& results = completed->result->results;
  ASSERT_EQ(results[0].probes.size(), 4u);
  EXPECT_EQ(results[0].probes[1].layer, 0);
  EXPECT_EQ(results[0].probes[1].head, 1);
  EXPECT_EQ(results[0].probes[2].layer, 1);
  EXPECT_TRUE(results[1].probes.empty());
}

TEST_F(ProbedStepTest, ARankMustReturnItsSlices) {
  StepAnswer answer = AnswerOf(1);
  answer.result->results.pop_back();
  const Verdict verdict = Take(1, std::move(answer));
  EXPECT_EQ(verdict.fault, Verdict::Fault::kWrong);
  EXPECT_THAT(verdict.status.message(), HasSubstr("rank 1 returned 1 slices"));
}

TEST_F(ProbedStepTest, ARankWithoutHeadsReturnsNothing) {
  ASSERT_TRUE(Take(1, {.step_id = 1, .result = StepResult()}).status.ok());
  StepAnswer all = AnswerOf(0);
  all.result->results[0].probes.push_back(Probe(0, 1));
  all.result->results[0].probes.push_back(Probe(1, 1));
  EXPECT_TRUE(Take(0, std::move(all)).status.ok());
}

TEST_F(ProbedStepTest, AMissingHeadIsNobodysFault) {
  StepAnswer answer = AnswerOf(1);
  answer.result->results[0].probes.pop_back();
  ASSERT_TRUE(Take(1, std::move(answer)).status.ok());
  const Verdict verdict = Take(0, AnswerOf(0));
  EXPECT_EQ(verdict.fault, Verdict::Fault::kNobodys);
  EXPECT_THAT(verdict.status.message(), HasSubstr("3 probes, expected 4"));
}

TEST_F(ProbedStepTest, AWrongProbeNamesItsRank) {
  StepAnswer answer = AnswerOf(1);
  answer.result->results[0].probes[0].argmax[0] = 77;
  const Verdict verdict = Take(1, std::move(answer));
  EXPECT_EQ(verdict.fault, Verdict::Fault::kWrong);
  EXPECT_THAT(verdict.status.message(), HasSubstr("rank 1: probe of layer 0"));
}

}  // namespace
}  // namespace headwise
