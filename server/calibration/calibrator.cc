#include "server/calibration/calibrator.h"

#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"

namespace headwise {
namespace {

absl::Status CheckRecord(const TestRecord& record, const TestSpec& spec) {
  if (static_cast<int64_t>(record.values.size()) != spec.num_values) {
    return absl::InvalidArgumentError(
        absl::StrCat("finished test ", record.id, " has ", record.values.size(),
                     " values, must be ", spec.num_values));
  }
  for (const double value : record.values) {
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("finished test ", record.id, " has the value ", value,
                       ", must be finite"));
    }
  }
  // Sums of them over all tests stay far from the end of int64.
  constexpr int64_t kMaxRows = int64_t{1} << 40;
  if (record.rows < 0 || record.rows > kMaxRows ||
      record.rows_without_reuse < 0 || record.rows_without_reuse > kMaxRows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "finished test ", record.id, " has ", record.rows, " rows and ",
        record.rows_without_reuse, " without reuse; must be 0 to ", kMaxRows));
  }
  return absl::OkStatus();
}

// One run of a method: tests, then checks, as one list.
class Calibrator {
 public:
  Calibrator(const CalibrationMethod& method, const CalibrationEvents& events,
             const Clock& clock, ModelRunner& runner)
      : method_(method),
        events_(events),
        clock_(clock),
        runner_(runner),
        start_(clock.Now()),
        specs_(method.tests()),
        num_tests_(specs_.size()) {
    const std::vector<TestSpec> checks = method.checks();
    specs_.insert(specs_.end(), checks.begin(), checks.end());
    records_.resize(specs_.size());
    for (const TestSpec& spec : specs_) total_rows_ += spec.rows;
  }

  absl::Status Resume(const FinishedTests& finished);
  absl::StatusOr<CalibrationOutcome> Run();

 private:
  absl::Status CheckManifest(const std::string& manifest) const;
  CalibrationProgress Progress() const;
  // Runs what is open of specs_[begin, end).
  absl::Status RunOpen(size_t begin, size_t end, const HeadScores* scores);
  void ReportTest(size_t index, const HeadScores* scores) const;
  std::vector<TestRecord> Records(size_t begin, size_t end) const;

  const CalibrationMethod& method_;
  const CalibrationEvents& events_;
  const Clock& clock_;
  ModelRunner& runner_;
  const absl::Time start_;
  std::vector<TestSpec> specs_;
  const size_t num_tests_;  // the rest are checks
  std::vector<std::optional<TestRecord>> records_;
  int64_t total_rows_ = 0;
  int64_t resumed_rows_ = 0;
  int64_t run_rows_ = 0;
  int64_t num_done_ = 0;
};

absl::Status Calibrator::CheckManifest(const std::string& manifest) const {
  const nlohmann::json ours = method_.manifest();
  const auto* bytes = reinterpret_cast<const uint8_t*>(manifest.data());
  HEADWISE_ASSIGN_OR_RETURN(
      const nlohmann::json theirs,
      ParseBoundedJson("manifest of the finished tests",
                       absl::MakeConstSpan(bytes, manifest.size()),
                       {.max_values = 4096, .max_depth = 8}));
  if (!theirs.is_object()) {
    return absl::InvalidArgumentError(
        "manifest of the finished tests: not an object");
  }
  for (const auto& [key, value] : ours.items()) {
    const auto other = theirs.find(key);
    if (other != theirs.end() && *other == value) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("the finished tests belong to another run: its ", key,
                     " is ", other == theirs.end() ? "missing" : other->dump(),
                     ", this run's is ", value.dump()));
  }
  return absl::OkStatus();
}

absl::Status Calibrator::Resume(const FinishedTests& finished) {
  if (finished.manifest.empty()) {
    if (finished.records.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(finished.records.size(),
                     " finished tests were given without their manifest"));
  }
  HEADWISE_RETURN_IF_ERROR(CheckManifest(finished.manifest));
  std::map<std::string, size_t> index_of;
  for (size_t i = 0; i < specs_.size(); ++i) index_of[specs_[i].id] = i;
  for (const TestRecord& record : finished.records) {
    const auto found = index_of.find(record.id);
    if (found == index_of.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "finished test \"", record.id, "\" is none of this method's"));
    }
    const size_t i = found->second;
    HEADWISE_RETURN_IF_ERROR(CheckRecord(record, specs_[i]));
    if (records_[i]) {
      return absl::InvalidArgumentError(
          absl::StrCat("finished test ", record.id, " is there twice"));
    }
    records_[i] = record;
    resumed_rows_ += specs_[i].rows;
    ++num_done_;
  }
  return absl::OkStatus();
}

CalibrationProgress Calibrator::Progress() const {
  CalibrationProgress progress;
  progress.tests_done = num_done_;
  progress.tests_total = static_cast<int64_t>(specs_.size());
  const int64_t done_rows = resumed_rows_ + run_rows_;
  progress.fraction = total_rows_ > 0 ? static_cast<double>(done_rows) /
                                            static_cast<double>(total_rows_)
                                      : 1.0;
  progress.elapsed = clock_.Now() - start_;
  if (run_rows_ > 0) {
    progress.remaining = progress.elapsed *
                         static_cast<double>(total_rows_ - done_rows) /
                         static_cast<double>(run_rows_);
  }
  return progress;
}

absl::Status Calibrator::RunOpen(size_t begin, size_t end,
                                 const HeadScores* scores) {
  for (size_t i = begin; i < end; ++i) {
    if (records_[i]) continue;
    const auto index = static_cast<int64_t>(i - begin);
    HEADWISE_ASSIGN_OR_RETURN(records_[i],
                              scores == nullptr
                                  ? method_.RunTest(index, runner_)
                                  : method_.RunCheck(index, *scores, runner_));
    if (absl::Status status = CheckRecord(*records_[i], specs_[i]);
        !status.ok()) {
      return absl::InternalError(status.message());
    }
    run_rows_ += specs_[i].rows;
    ++num_done_;
    ReportTest(i, scores);
  }
  return absl::OkStatus();
}

void Calibrator::ReportTest(size_t index, const HeadScores* scores) const {
  if (!events_.on_test) return;
  // Scores of the tests so far cost time by their number.
  const size_t stride = num_tests_ / 16 + 1;
  absl::StatusOr<HeadScores> so_far = absl::UnknownError("not asked for");
  if (scores == nullptr && (index + 1) % stride == 0) {
    so_far = method_.Score(Records(0, index + 1));
  }
  events_.on_test(*records_[index], Progress(),
                  so_far.ok() ? &*so_far : scores);
}

std::vector<TestRecord> Calibrator::Records(size_t begin, size_t end) const {
  std::vector<TestRecord> records;
  for (size_t i = begin; i < end; ++i) records.push_back(*records_[i]);
  return records;
}

absl::StatusOr<CalibrationOutcome> Calibrator::Run() {
  if (events_.on_started) {
    events_.on_started(method_.manifest().dump(), Progress());
  }
  HEADWISE_RETURN_IF_ERROR(RunOpen(0, num_tests_, nullptr));
  const std::vector<TestRecord> tests = Records(0, num_tests_);
  CalibrationOutcome outcome;
  HEADWISE_ASSIGN_OR_RETURN(outcome.scores, method_.Score(tests));
  HEADWISE_RETURN_IF_ERROR(RunOpen(num_tests_, specs_.size(), &outcome.scores));
  const std::vector<TestRecord> checks = Records(num_tests_, specs_.size());
  outcome.report = method_.Report(outcome.scores, tests, checks);
  for (const auto& record : records_) {
    outcome.rows += record->rows;
    outcome.rows_without_reuse += record->rows_without_reuse;
  }
  return outcome;
}

}  // namespace

absl::StatusOr<CalibrationOutcome> Calibrate(const CalibrationMethod& method,
                                             const FinishedTests& finished,
                                             const CalibrationEvents& events,
                                             const Clock& clock,
                                             ModelRunner& runner) {
  Calibrator calibrator(method, events, clock, runner);
  HEADWISE_RETURN_IF_ERROR(calibrator.Resume(finished));
  return calibrator.Run();
}

}  // namespace headwise
