#include "server/calibration/echo.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/calibration/calibrator.h"
#include "server/calibration/fake_model_runner.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class EchoTest : public testing::Test {
 protected:
  EchoTest() {
    options_.block = 32;
    runner_.kinds[3] = FakeModelRunner::Kind::kCopy;
    runner_.kinds[9] = FakeModelRunner::Kind::kEcho;
  }
  std::string Refusal() const {
    return std::string(
        MakeEcho(options_, runner_.facts(), tokenizer_).status().message());
  }

  ByteTokenizer tokenizer_;
  FakeModelRunner runner_;
  EchoOptions options_;
};

TEST_F(EchoTest, FindsTheHeadsThatLookOnePeriodBack) {
  const auto method = *MakeEcho(options_, runner_.facts(), tokenizer_);
  const auto outcome = Calibrate(*method, {}, {}, Clock::Monotonic(), runner_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const std::vector<double>& induction =
      outcome->scores.details.at("induction");
  const std::vector<double>& echo = outcome->scores.details.at("echo");
  for (size_t head = 0; head < 16; ++head) {
    // Not 1: the first rows of a copy match a token that occurs twice.
    if (head == 3) {
      EXPECT_GT(induction[head], 0.9);
    } else {
      EXPECT_LT(induction[head], 0.05) << head;
    }
    if (head == 9) {
      EXPECT_GT(echo[head], 0.9);
    } else {
      EXPECT_LT(echo[head], 0.05) << head;
    }
  }
  // The best unit by echo comes first, then those by induction.
  EXPECT_GT(outcome->scores.units[4], 1.9);
  EXPECT_EQ(outcome->scores.units[1], induction[3]);
  EXPECT_EQ(outcome->rows, 3 * (32 * 4 + 1));
  EXPECT_EQ(outcome->rows_without_reuse, 16 * outcome->rows);
  EXPECT_FALSE(outcome->report.has_check);
}

TEST_F(EchoTest, OptionsOutOfRangeAreRefusedByName) {
  options_.block = 8;
  EXPECT_THAT(Refusal(), HasSubstr("block: 8 is outside [16, 4095]"));
  options_.block = 4096;
  EXPECT_THAT(Refusal(), HasSubstr("block: 4096"));
  options_ = {};
  options_.copies = 1;
  EXPECT_THAT(Refusal(), HasSubstr("copies: 1 is outside [2, 64]"));
  options_ = {};
  options_.num_tests = 0;
  EXPECT_THAT(Refusal(), HasSubstr("tests: 0"));
}

}  // namespace
}  // namespace headwise
