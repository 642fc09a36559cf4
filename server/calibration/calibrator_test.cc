#include "server/calibration/calibrator.h"

#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/calibration/echo.h"
#include "server/calibration/fake_model_runner.h"
#include "server/calibration/retrieval.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class CalibratorTest : public testing::Test {
 protected:
  CalibratorTest() {
    RetrievalOptions options;
    options.lengths = {600};
    options.depths = {0, 1};
    options.num_needles = 2;
    options.num_check_tests = 2;
    runner_.kinds[5] = FakeModelRunner::Kind::kCopy;
    method_ = *MakeRetrieval(options, runner_.facts(), tokenizer_);
    events_.on_started = [this](const std::string& manifest,
                                const CalibrationProgress& progress) {
      state_.manifest = manifest;
      progress_.push_back(progress);
    };
    events_.on_test = [this](const TestRecord& record,
                             const CalibrationProgress& progress,
                             const HeadScores*) {
      state_.records.push_back(record);
      progress_.push_back(progress);
    };
  }

  absl::StatusOr<CalibrationOutcome> Run(const FinishedTests& finished) {
    return Calibrate(*method_, finished, events_, Clock::Monotonic(), runner_);
  }

  ByteTokenizer tokenizer_;
  FakeModelRunner runner_;
  std::unique_ptr<CalibrationMethod> method_;
  CalibrationEvents events_;
  FinishedTests state_;
  std::vector<CalibrationProgress> progress_;
};

TEST_F(CalibratorTest, ReportsProgressFromNothingToAll) {
  ASSERT_TRUE(Run({}).ok());
  ASSERT_EQ(progress_.size(), 7u);
  EXPECT_EQ(progress_.front().tests_done, 0);
  EXPECT_EQ(progress_.front().fraction, 0.0);
  for (size_t i = 0; i < progress_.size(); ++i) {
    EXPECT_EQ(progress_[i].tests_done, static_cast<int64_t>(i));
    EXPECT_EQ(progress_[i].tests_total, 6);
  }
  EXPECT_EQ(progress_.back().fraction, 1.0);
  EXPECT_EQ(progress_.back().remaining, absl::ZeroDuration());
}

// Cut anywhere, a run that goes on gives what a run at once gives, and runs
// nothing twice.
TEST_F(CalibratorTest, GoesOnWhereAnEarlierRunStopped) {
  const CalibrationOutcome whole = *Run({});
  const FinishedTests all = state_;
  const int64_t all_rows = runner_.num_rows;
  for (size_t kept = 0; kept <= all.records.size(); ++kept) {
    SCOPED_TRACE(kept);
    FinishedTests some = all;
    some.records.resize(kept);
    int64_t kept_rows = 0;
    for (const TestRecord& record : some.records) kept_rows += record.rows;
    runner_.num_rows = 0;
    state_ = {};
    const auto outcome = Run(some);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->scores, whole.scores);
    EXPECT_EQ(outcome->report.verdict, whole.report.verdict);
    EXPECT_EQ(outcome->rows, whole.rows);
    EXPECT_EQ(runner_.num_rows, all_rows - kept_rows);
    EXPECT_EQ(state_.records.size(), all.records.size() - kept);
  }
}

TEST_F(CalibratorTest, AnErrorEndsTheRunAndKeepsWhatWasReported) {
  runner_.fail_at_call = 5;
  EXPECT_EQ(Run({}).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(state_.records.size(), 2u);
}

TEST_F(CalibratorTest, AStateOfAnotherRunIsRefusedByWhatDiffers) {
  ASSERT_TRUE(Run({}).ok());
  nlohmann::json manifest = nlohmann::json::parse(state_.manifest);
  manifest["lengths"] = {1024};
  const absl::Status refused = Run({.manifest = manifest.dump()}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("its lengths is [1024], this run's is [600]"));
  manifest.erase("lengths");
  EXPECT_THAT(
      std::string(Run({.manifest = manifest.dump()}).status().message()),
      HasSubstr("its lengths is missing"));
}

TEST_F(CalibratorTest, RecordsThatCannotBeAreRefusedByName) {
  ASSERT_TRUE(Run({}).ok());
  const FinishedTests good = state_;
  const auto refusal = [&](auto change) {
    FinishedTests bad = good;
    change(bad);
    return std::string(Run(bad).status().message());
  };
  EXPECT_THAT(refusal([](FinishedTests& f) { f.records[0].id = "x"; }),
              HasSubstr("\"x\" is none of this method's"));
  EXPECT_THAT(refusal([](FinishedTests& f) { f.records[0].values.pop_back(); }),
              HasSubstr("has 33 values, must be 34"));
  EXPECT_THAT(
      refusal([](FinishedTests& f) { f.records[0].values[1] = 1.0 / 0.0; }),
      HasSubstr("must be finite"));
  EXPECT_THAT(refusal([](FinishedTests& f) { f.records[0].rows = -1; }),
              HasSubstr("-1 rows"));
  EXPECT_THAT(refusal([](FinishedTests& f) { f.records[1] = f.records[0]; }),
              HasSubstr("twice"));
  EXPECT_THAT(refusal([](FinishedTests& f) { f.manifest.clear(); }),
              HasSubstr("without their manifest"));
}

TEST_F(CalibratorTest, TimeLeftFollowsFromTheRowsOfThisRun) {
  FakeClock clock;
  CalibrationProgress last;
  CalibrationEvents events;
  events.on_test = [&](const TestRecord&, const CalibrationProgress& progress,
                       const HeadScores*) { last = progress; };
  events.on_started = [&](const std::string&, const CalibrationProgress&) {
    clock.Advance(absl::Seconds(10));
  };
  runner_.fail_at_call = 2;  // after one of six tests of equal size
  EXPECT_FALSE(Calibrate(*method_, {}, events, clock, runner_).ok());
  EXPECT_EQ(last.elapsed, absl::Seconds(10));
  EXPECT_EQ(last.remaining, absl::Seconds(50));
}

}  // namespace
}  // namespace headwise
