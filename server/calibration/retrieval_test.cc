#include "server/calibration/retrieval.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/calibration/calibrator.h"
#include "server/calibration/fake_model_runner.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;

class RetrievalTest : public testing::Test {
 protected:
  RetrievalTest() {
    options_.lengths = {600, 900};
    options_.depths = {0, 0.5, 1};
    options_.num_needles = 2;
    options_.num_check_tests = 4;
    options_.check_fraction = 0.125;  // 2 of 16
    runner_.kinds[5] = FakeModelRunner::Kind::kCopy;
    runner_.kinds[10] = FakeModelRunner::Kind::kCopy;
  }

  std::unique_ptr<CalibrationMethod> Method() const {
    auto method = MakeRetrieval(options_, runner_.facts(), tokenizer_);
    EXPECT_TRUE(method.ok()) << method.status();
    return *std::move(method);
  }
  CalibrationOutcome Run() {
    auto outcome = Calibrate(*Method(), {}, {}, Clock::Monotonic(), runner_);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return *std::move(outcome);
  }
  std::string Refusal() const {
    return std::string(MakeRetrieval(options_, runner_.facts(), tokenizer_)
                           .status()
                           .message());
  }
  static double FigureOf(const CalibrationOutcome& outcome,
                         const std::string& name) {
    for (const Figure& figure : outcome.report.figures) {
      if (figure.name == name) return figure.value;
    }
    ADD_FAILURE() << "no figure " << name;
    return 0;
  }

  ByteTokenizer tokenizer_;
  FakeModelRunner runner_;
  RetrievalOptions options_;
};

TEST_F(RetrievalTest, ACopyHeadScoresOneAndADiagonalHeadZero) {
  const CalibrationOutcome outcome = Run();
  for (size_t head = 0; head < 16; ++head) {
    EXPECT_EQ(outcome.scores.heads[head], head == 5 || head == 10 ? 1.0 : 0.0)
        << head;
  }
  EXPECT_EQ(outcome.scores.units,
            (std::vector<double>{0, 0, 1, 0, 0, 1, 0, 0}));
  EXPECT_EQ(FigureOf(outcome, "tests_retrieved"), 12);
  EXPECT_EQ(FigureOf(outcome, "heads_at_0"), 14.0 / 16);
  EXPECT_EQ(FigureOf(outcome, "top_overlap_of_halves"), 1.0);
  EXPECT_EQ(FigureOf(outcome, "top_overlap_of_lengths"), 1.0);
}

TEST_F(RetrievalTest, MaskingTheCopyHeadsBreaksTheTaskAndOthersDoNot) {
  const CalibrationOutcome outcome = Run();
  EXPECT_TRUE(outcome.report.has_check);
  EXPECT_TRUE(outcome.report.passed) << outcome.report.verdict;
  EXPECT_EQ(FigureOf(outcome, "accuracy_none"), 1.0);
  EXPECT_EQ(FigureOf(outcome, "accuracy_top"), 0.0);
  EXPECT_EQ(FigureOf(outcome, "accuracy_random_5"), 1.0);
}

TEST_F(RetrievalTest, TheCheckFailsIfTheBestHeadsAreNotAllThatCopy) {
  runner_.kinds[2] = FakeModelRunner::Kind::kCopy;
  const CalibrationOutcome outcome = Run();
  EXPECT_TRUE(outcome.report.has_check);
  EXPECT_FALSE(outcome.report.passed) << outcome.report.verdict;
}

TEST_F(RetrievalTest, AModelThatFindsNothingIsAnError) {
  runner_.can_copy = false;
  const auto outcome =
      Calibrate(*Method(), {}, {}, Clock::Monotonic(), runner_);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(outcome.status().message()),
              HasSubstr("none of 12 needles"));
}

TEST_F(RetrievalTest, TheProxyTaskIsAnotherRunWithItsOwnPrompts) {
  const std::string needles = Method()->manifest().dump();
  options_.task = RetrievalTask::kKeyValue;
  EXPECT_THAT(Refusal(), HasSubstr("no room"));
  options_.lengths = {2000};
  const auto method = Method();
  EXPECT_THAT(method->manifest().dump(), HasSubstr("key-value"));
  EXPECT_THAT(needles, Not(HasSubstr("key-value")));
  EXPECT_EQ(method->tests()[0].id, "key-value/2000/0/0");
  const auto outcome = Calibrate(*method, {}, {}, Clock::Monotonic(), runner_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->scores.method, "key-value");
  EXPECT_EQ(FigureOf(*outcome, "tests"), 6);
  runner_.can_copy = false;
  const auto none = Calibrate(*method, {}, {}, Clock::Monotonic(), runner_);
  EXPECT_THAT(std::string(none.status().message()),
              HasSubstr("none of 6 values"));
}

TEST_F(RetrievalTest, RowsAreCountedAsTheyWereRun) {
  const CalibrationOutcome outcome = Run();
  EXPECT_EQ(outcome.rows, runner_.num_rows);
  // Of 16 heads; of bytes, question and answer are long.
  EXPECT_GE(outcome.rows_without_reuse, 9 * outcome.rows);
  EXPECT_EQ(runner_.num_held(), 0u);
}

TEST_F(RetrievalTest, PrefixesAreReleasedWhenARunFails) {
  runner_.fail_at_call = 1;
  EXPECT_EQ(
      Calibrate(*Method(), {}, {}, Clock::Monotonic(), runner_).status().code(),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(runner_.num_held(), 0u);
}

TEST_F(RetrievalTest, HitsCountEachPositionOnceAndStepsBesideIt) {
  NeedlePrompt prompt;
  prompt.prefix = {9, 7, 7, 8, 9};
  prompt.answer = {7, 7, 8};
  prompt.needle = {1, 2, 3};
  HeadHits hits = CountHits(prompt, {1, 2, 3});
  EXPECT_EQ(hits.once, 1.0);
  EXPECT_EQ(hits.repeated, 1.0);
  // The same position twice; then one whose token is not the predicted one.
  hits = CountHits(prompt, {1, 1, 2});
  EXPECT_DOUBLE_EQ(hits.once, 1.0 / 3);
  EXPECT_DOUBLE_EQ(hits.repeated, 2.0 / 3);
  // Outside the needle, though the token is right.
  EXPECT_EQ(CountHits(prompt, {0, 4, 4}).repeated, 0.0);
}

TEST_F(RetrievalTest, OptionsOutOfRangeAreRefusedByName) {
  const RetrievalOptions good = options_;
  options_.lengths = {100};
  EXPECT_THAT(Refusal(), HasSubstr("lengths: 100 is outside [128, 16384]"));
  options_.lengths = {};
  EXPECT_THAT(Refusal(), HasSubstr("lengths: 0 were given"));
  options_.lengths = {130};  // bytes: no room for question and needle
  EXPECT_THAT(Refusal(), HasSubstr("no room"));
  options_ = good;
  options_.depths = {1.5};
  EXPECT_THAT(Refusal(), HasSubstr("depths: 1.5"));
  options_.depths.assign(33, 0.5);
  EXPECT_THAT(Refusal(), HasSubstr("depths: 33 were given"));
  options_ = good;
  options_.num_needles = 0;
  EXPECT_THAT(Refusal(), HasSubstr("needles: 0"));
  options_ = good;
  options_.check_fraction = 0;
  EXPECT_THAT(Refusal(), HasSubstr("check_fraction: 0"));
}

}  // namespace
}  // namespace headwise
