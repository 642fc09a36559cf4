#include "server/calibration/act_filter.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/calibration/calibrator.h"
#include "server/calibration/choice_items.h"
#include "server/calibration/fake_model_runner.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Of six layers, candidates are the heads of layers 2, 3 and 4: 8 to 19.
class ActFilterTest : public testing::Test {
 protected:
  ActFilterTest() : runner_(/*num_layers=*/6) {
    options_.num_items = 3;
    options_.num_check_items = 8;
    runner_.act_gain[0] = 9;  // not a candidate
    runner_.act_gain[9] = 0.5;
    runner_.act_gain[12] = 0.25;
    runner_.act_gain[18] = -0.5;
    runner_.act_gain[23] = 9;  // not a candidate
  }
  absl::StatusOr<CalibrationOutcome> Run() {
    const auto method = MakeActFilter(options_, runner_.facts(), tokenizer_);
    if (!method.ok()) return method.status();
    return Calibrate(**method, {}, {}, Clock::Monotonic(), runner_);
  }
  std::string Refusal() { return std::string(Run().status().message()); }

  ByteTokenizer tokenizer_;
  FakeModelRunner runner_;
  ActOptions options_;
};

TEST_F(ActFilterTest, AHeadScoresWhatCalibratingItTakesFromTheLoss) {
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  for (size_t head = 0; head < 24; ++head) {
    const bool candidate = head >= 8 && head < 20;
    EXPECT_NEAR(outcome->scores.heads[head],
                candidate ? runner_.act_gain[head] : 0.0, 1e-6)
        << head;
  }
  EXPECT_EQ(outcome->rows, runner_.num_rows);
}

TEST_F(ActFilterTest, KeptHeadsBeatRandomOnesOnOtherItems) {
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->report.passed) << outcome->report.verdict;
}

TEST_F(ActFilterTest, NothingIsKeptWhereNothingGains) {
  runner_.act_gain.assign(24, -1.0);
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_FALSE(outcome->report.passed);
}

// A gain on one item of two is within its standard error.
TEST_F(ActFilterTest, AGainThatMayBeNoiseIsNotKept) {
  const auto method = MakeActFilter(options_, runner_.facts(), tokenizer_);
  ASSERT_TRUE(method.ok()) << method.status();
  std::vector<TestRecord> records(2);
  for (TestRecord& record : records) record.values.assign(13, 2.0);
  records[0].values[1] = 1.0;  // head 8: gains 1 and 0
  records[0].values[2] = 1.5;  // head 9: gains 0.5 and 0.25
  records[1].values[2] = 1.75;
  const HeadScores scores = *(*method)->Score(records);
  EXPECT_EQ(scores.heads[8], 0.0);
  EXPECT_EQ(scores.heads[9], 0.25);
  EXPECT_EQ(scores.heads[10], 0.0);
}

TEST_F(ActFilterTest, TheBootstrapTellsGainFromNoise) {
  EXPECT_EQ(BootstrapP({0.1, 0.2, 0.3}, 100, 1), 0.0);
  EXPECT_EQ(BootstrapP({-0.1, -0.2}, 100, 1), 1.0);
  EXPECT_EQ(BootstrapP({0, 0}, 100, 1), 1.0);
  const double p = BootstrapP({1, -1, 1, -1, 1, -1}, 2000, 1);
  EXPECT_GT(p, 0.3);
  EXPECT_LT(p, 0.8);
}

TEST_F(ActFilterTest, GivenItemsAreReadAndMustSuffice) {
  options_.num_items = 1;
  options_.num_check_items = 1;
  options_.items = "{\"prompt\": \"1 + 1 =\", \"label\": \" 2\"}\n\n";
  EXPECT_THAT(Refusal(), HasSubstr("items: 1 are given"));
  options_.num_check_items = 0;
  EXPECT_TRUE(Run().ok());
  options_.items = "{\"prompt\": \"x\"}";
  EXPECT_THAT(Refusal(), HasSubstr("items: line 1: label is missing"));
  options_.items = "[]";
  EXPECT_THAT(Refusal(), HasSubstr("line 1: not an object"));
  options_.items = "\n";
  EXPECT_THAT(Refusal(), HasSubstr("none are given"));
}

TEST_F(ActFilterTest, OptionsOutOfRangeAreRefusedByName) {
  options_.sink_beta = 1;
  EXPECT_THAT(Refusal(), HasSubstr("sink_beta: 1"));
  options_ = {};
  options_.sink_threshold = 0;
  EXPECT_THAT(Refusal(), HasSubstr("sink_threshold: 0"));
  options_ = {};
  options_.num_items = 0;
  EXPECT_THAT(Refusal(), HasSubstr("items: 0"));
  options_ = {};
  const FakeModelRunner shallow(/*num_layers=*/3);
  EXPECT_EQ(
      MakeActFilter(options_, shallow.facts(), tokenizer_).status().code(),
      absl::StatusCode::kFailedPrecondition);
}

TEST_F(ActFilterTest, DrawnItemsNameOneRightOption) {
  Draws draws(4, 0);
  for (const ChoiceItem& item : DrawChoiceItems(100, draws)) {
    EXPECT_FALSE(item.label.empty());
    const size_t label = item.prompt.find(item.label.substr(1));
    EXPECT_NE(label, std::string::npos) << item.prompt << item.label;
  }
}

}  // namespace
}  // namespace headwise
