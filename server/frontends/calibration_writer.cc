#include "server/frontends/calibration_writer.h"

#include "proto/head_plan_codec.h"

namespace headwise {
namespace {

void WriteProgress(const CalibrationProgress& progress,
                   v1::CalibrationProgress* out) {
  out->set_tests_done(progress.tests_done);
  out->set_tests_total(progress.tests_total);
  out->set_fraction(progress.fraction);
  out->set_elapsed_seconds(absl::ToDoubleSeconds(progress.elapsed));
  out->set_remaining_seconds(absl::ToDoubleSeconds(progress.remaining));
}

void WriteScores(const HeadScores& scores, v1::HeadScores* out) {
  out->set_model_sha256(scores.model_sha256);
  out->set_method(scores.method);
  out->set_num_layers(scores.num_layers);
  out->set_num_heads(scores.num_heads);
  out->set_num_kv_heads(scores.num_kv_heads);
  out->mutable_units()->Assign(scores.units.begin(), scores.units.end());
  out->mutable_heads()->Assign(scores.heads.begin(), scores.heads.end());
  for (const auto& [name, values] : scores.details) {
    v1::HeadScores::Detail* detail = out->add_details();
    detail->set_name(name);
    detail->mutable_values()->Assign(values.begin(), values.end());
  }
}

}  // namespace

void WriteStarted(const std::string& manifest,
                  const CalibrationProgress& progress,
                  v1::CalibrationStarted* out) {
  out->set_manifest(manifest);
  WriteProgress(progress, out->mutable_progress());
}

void WriteTest(const TestRecord& record, const CalibrationProgress& progress,
               const HeadScores* scores, v1::CalibrationTest* out) {
  v1::FinishedTest* test = out->mutable_test();
  test->set_id(record.id);
  test->mutable_values()->Assign(record.values.begin(), record.values.end());
  test->set_rows(record.rows);
  test->set_rows_without_reuse(record.rows_without_reuse);
  WriteProgress(progress, out->mutable_progress());
  if (scores == nullptr) return;
  out->mutable_unit_scores()->Assign(scores->units.begin(),
                                     scores->units.end());
}

void WriteResult(const CalibrationOutcome& outcome, const HeadPlan& plan,
                 v1::CalibrationResult* out) {
  WriteScores(outcome.scores, out->mutable_scores());
  WriteHeadPlan(plan, out->mutable_plan());
  for (const Figure& figure : outcome.report.figures) {
    v1::CalibrationFigure* message = out->add_figures();
    message->set_name(figure.name);
    message->set_value(figure.value);
  }
  if (outcome.report.has_check) {
    out->mutable_check()->set_passed(outcome.report.passed);
    out->mutable_check()->set_verdict(outcome.report.verdict);
  }
  out->set_rows(outcome.rows);
  out->set_rows_without_reuse(outcome.rows_without_reuse);
}

}  // namespace headwise
