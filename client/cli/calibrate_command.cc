#include "client/cli/calibrate_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "client/cli/calibrate_output.h"
#include "client/cli/calibrate_request.h"
#include "client/cli/finished_tests_file.h"
#include "client/cli/json_output.h"
#include "client/cli/plan_commands.h"
#include "client/cli/progress_bar.h"
#include "client/cli/session.h"
#include "model/head_scores/head_scores_json.h"
#include "model/head_scores/plan_from_scores.h"
#include "proto/head_plan_codec.h"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

// A bar whose label is the time that is left.
class CalibrationBar {
 public:
  void Show(const v1::CalibrationProgress& progress) {
    const std::string label = absl::StrCat(
        "left ", absl::FormatDuration(absl::Seconds(
                     static_cast<int64_t>(progress.remaining_seconds()))));
    if (label != label_) bar_.emplace(label);
    label_ = label;
    bar_->Show(progress.fraction());
  }
  void Clear() { bar_.reset(); }

 private:
  std::string label_;
  std::optional<ProgressBar> bar_;
};

// Runs the request and keeps its tests in `state`, if there is one.
absl::StatusOr<v1::CalibrationResult> Stream(
    Client& client, const v1::CalibrateRequest& request,
    FinishedTestsFile* state) {
  v1::CalibrationResult result;
  bool has_started = false;
  bool has_result = false;
  absl::Status kept;
  CalibrationBar bar;
  const absl::Status status =
      client.Calibrate(request, [&](const v1::CalibrateResponse& event) {
        if (event.has_started()) {
          has_started = true;
          bar.Show(event.started().progress());
          if (state) kept = state->Begin(event.started().manifest());
        } else if (event.has_test()) {
          bar.Show(event.test().progress());
          if (state) kept = state->Add(event.test().test());
        } else if (event.has_result()) {
          result = event.result();
          has_result = true;
        }
        return kept.ok();
      });
  bar.Clear();
  HEADWISE_RETURN_IF_ERROR(kept);
  if (state && !has_started && absl::IsFailedPrecondition(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat(state->path(), ": ", status.message()));
  }
  HEADWISE_RETURN_IF_ERROR(status);
  if (!has_result) {
    return absl::InternalError("the server ended without a result");
  }
  return result;
}

absl::Status WriteFiles(const CalibrateCommandFlags& flags,
                        const HeadScores& scores, const HeadPlan& plan) {
  HEADWISE_RETURN_IF_ERROR(WriteHeadPlanFile(plan, flags.out));
  if (!flags.scores.empty()) {
    HEADWISE_RETURN_IF_ERROR(
        WriteTextFile(HeadScoresToJson(scores).dump() + "\n", flags.scores));
  }
  if (!flags.svg.empty()) {
    HEADWISE_RETURN_IF_ERROR(
        WriteTextFile(RenderHeatMapSvg(HeatMapOf(scores)), flags.svg));
  }
  return absl::OkStatus();
}

void PrintScores(const HeadScores& scores) {
  std::fputs(RenderHeatMap(HeatMapOf(scores), StdoutPicture()).c_str(), stdout);
}

// A plan of scores that earlier runs have written.
absl::Status RunFromScores(const CalibrateCommandFlags& flags) {
  std::vector<HeadScores> scores;
  for (const std::string& path : flags.from_scores) {
    HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                              ReadText(TextFlags{.file = path}));
    HEADWISE_ASSIGN_OR_RETURN(HeadScores one, ParseHeadScores(path, text));
    scores.push_back(std::move(one));
  }
  // One ranking stays as it is; of several the mean rank counts.
  HeadScores joined = scores[0];
  if (scores.size() > 1) {
    HEADWISE_ASSIGN_OR_RETURN(joined, JoinScores(scores));
  }
  HEADWISE_ASSIGN_OR_RETURN(const PlanRule rule, PlanRuleOf(flags.calibrate));
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, PlanFromScores(joined, rule));
  HEADWISE_RETURN_IF_ERROR(WriteFiles(flags, joined, plan));
  nlohmann::ordered_json correlations = nlohmann::ordered_json::array();
  for (size_t a = 0; a < scores.size(); ++a) {
    for (size_t b = a + 1; b < scores.size(); ++b) {
      correlations.push_back(
          {{"a", flags.from_scores[a]},
           {"b", flags.from_scores[b]},
           {"rank_correlation",
            RankCorrelation(scores[a].units, scores[b].units)}});
    }
  }
  if (flags.json) {
    PrintJsonLine({{"method", joined.method},
                   {"plan", flags.out},
                   {"correlations", correlations}});
    return absl::OkStatus();
  }
  for (const auto& pair : correlations) {
    absl::PrintF("%s and %s: rank correlation of units %.3f\n",
                 pair["a"].get<std::string>(), pair["b"].get<std::string>(),
                 pair["rank_correlation"].get<double>());
  }
  PrintScores(joined);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunCalibrate(const CalibrateCommandFlags& flags) {
  if (!flags.from_scores.empty()) return RunFromScores(flags);
  HEADWISE_ASSIGN_OR_RETURN(v1::CalibrateRequest request,
                            CalibrateRequestOf(flags.calibrate));
  std::optional<FinishedTestsFile> state;
  if (!flags.state.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(state, FinishedTestsFile::Open(flags.state));
    *request.mutable_finished() = state->finished();
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  const absl::Time start = absl::Now();
  HEADWISE_ASSIGN_OR_RETURN(
      const v1::CalibrationResult result,
      Stream(session->client(), request, state ? &*state : nullptr));
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const HeadScores scores = ScoresOf(result.scores());
  HEADWISE_RETURN_IF_ERROR(CheckHeadScores(scores));
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, ReadHeadPlan(result.plan()));
  HEADWISE_RETURN_IF_ERROR(WriteFiles(flags, scores, plan));
  if (flags.json) {
    nlohmann::ordered_json json = CalibrationToJson(result, seconds);
    json["plan"] = flags.out;
    PrintJsonLine(json);
    return absl::OkStatus();
  }
  std::fputs(RenderCalibration(result, seconds).c_str(), stdout);
  PrintScores(scores);
  return absl::OkStatus();
}

void AddCalibrateFileFlags(CLI::App& command, CalibrateCommandFlags& flags) {
  const std::string group = "Files";
  command
      .add_option("-o,--out", flags.out,
                  "The plan to write; text if it ends with .json")
      ->required()
      ->group(group);
  command.add_option("--scores", flags.scores, "Write the scores as JSON")
      ->group(group);
  command.add_option("--svg", flags.svg, "Write the scores as a heat map")
      ->group(group);
  command
      .add_option("--state", flags.state,
                  "Keep finished tests here, and go on from them")
      ->group(group);
  command
      .add_option("--from-scores", flags.from_scores,
                  "Measure nothing: make the plan of these files of --scores; "
                  "of several the mean rank counts")
      ->delimiter(',')
      ->check(CLI::ExistingFile)
      ->group(group);
  command.add_flag("--json", flags.json, "The result as one JSON object");
}

void AddPlanCalibrateCommand(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "calibrate", "Measure what each head does, and make a plan of it");
  auto flags = std::make_shared<CalibrateCommandFlags>();
  AddSessionFlags(*command, flags->cluster);
  AddCalibrateFlags(*command, flags->calibrate);
  AddCalibrateFileFlags(*command, *flags);
  // Instead of AddSessionFlags' rule.
  command->parse_complete_callback([command] {
    if (command->count("--from-scores") > 0) return;
    if (command->count("--method") == 0) throw CLI::RequiredError("--method");
    if (command->count("--model") + command->count("--server") == 0) {
      throw CLI::RequiredError("--model or --server");
    }
  });
  command->footer(
      "Methods:\n"
      "  retrieval  heads that copy a needle out of a long text\n"
      "  key-value  heads that copy the value of a key out of a JSON object\n"
      "  echo       heads that look one period back in a text that repeats\n"
      "  ablation   KV heads whose streaming changes the final state\n"
      "  act        heads that gain when their attention sinks are reduced\n\n"
      "Examples:\n"
      "  headwise plan calibrate -m M --method retrieval -o plan.json --svg "
      "map.svg --state run.jsonl\n"
      "  headwise plan calibrate -m M --method echo --keep 0.15 --rest razor "
      "-o razor.json\n"
      "  headwise plan calibrate --from-scores a.json,b.json --kept longheads "
      "--chunk-len 256\n      --chunks 8 --per-query-head --sinks 4 --window "
      "1024 --slot-positions -o long.json\n"
      "docs/calibration.md describes methods, figures and checks.");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunCalibrate(*flags); }; });
}

}  // namespace headwise
