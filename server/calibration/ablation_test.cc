#include "server/calibration/ablation.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/calibration/calibrator.h"
#include "server/calibration/fake_model_runner.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class AblationTest : public testing::Test {
 protected:
  AblationTest() {
    options_.length = 2000;
    options_.num_prompts = 2;
    options_.num_needles = 1;
    options_.num_words = 3;
    options_.num_sinks = 4;
    options_.window = 64;
    options_.num_check_tests = 2;
    runner_.kinds[6] = FakeModelRunner::Kind::kCopy;  // unit 3
  }
  absl::StatusOr<CalibrationOutcome> Run() {
    const auto method = MakeAblation(options_, runner_.facts(), tokenizer_);
    if (!method.ok()) return method.status();
    return Calibrate(**method, {}, {}, Clock::Monotonic(), runner_);
  }
  std::string Refusal() { return std::string(Run().status().message()); }

  ByteTokenizer tokenizer_;
  FakeModelRunner runner_;
  AblationOptions options_;
};

TEST_F(AblationTest, TheUnitWhoseStreamingChangesTheStateScoresAlone) {
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  for (size_t unit = 0; unit < 8; ++unit) {
    if (unit == 3) {
      EXPECT_GT(outcome->scores.units[unit], 1.0);
    } else {
      EXPECT_EQ(outcome->scores.units[unit], 0.0) << unit;
    }
  }
  EXPECT_TRUE(outcome->scores.heads.empty());
}

TEST_F(AblationTest, StreamingTheWorseHalfCostsNothingTheBetterHalfMost) {
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->report.has_check);
  EXPECT_TRUE(outcome->report.passed) << outcome->report.verdict;
}

TEST_F(AblationTest, ThePrefixIsRunOncePerPrompt) {
  options_.num_check_tests = 0;
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->rows, runner_.num_rows);
  EXPECT_LT(outcome->rows, 2 * (2000 + 9 * 160));
  EXPECT_GT(outcome->rows_without_reuse, 2 * 9 * 1900);
  EXPECT_EQ(runner_.num_held(), 0u);
}

TEST_F(AblationTest, OptionsOutOfRangeAreRefusedByName) {
  const AblationOptions good = options_;
  options_.window = 2000;
  EXPECT_THAT(Refusal(), HasSubstr("length: 2000 is outside [2005, 16384]"));
  options_.window = 0;
  EXPECT_THAT(Refusal(), HasSubstr("window"));
  options_ = good;
  options_.num_needles = 17;
  EXPECT_THAT(Refusal(), HasSubstr("needles: 17 is outside [1, 16]"));
  options_.num_needles = 16;
  options_.num_words = 32;
  EXPECT_THAT(Refusal(), HasSubstr("no room"));
  options_ = good;
  options_.num_prompts = 0;
  EXPECT_THAT(Refusal(), HasSubstr("prompts: 0"));
}

}  // namespace
}  // namespace headwise
