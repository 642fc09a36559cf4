#include "lab/titans/titans_run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "lab/titans/titans_folder.h"
#include "lab/titans/titans_recall.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kLossHeader[] =
    "step,tokens,learning_rate,loss,accuracy,theta_share,alpha_share,mean_eta,"
    "seconds,skipped\n";
constexpr int64_t kStepsPerSave = 20;
constexpr int64_t kStepsPerLine = 50;  // of progress on standard error
constexpr int64_t kLastSteps = 50;     // that the final loss is the mean of

// Of a byte-level language model every token may be worth writing; Sigma theta
// of a chunk stays below what one key written again and again can bear. (At
// 0.25 memories run away within 40 steps.)
void ForText(TitansRun& run) {
  TitansHyperparameters& titans = *run.hyper.titans;
  run.hyper.num_layers = 2;
  run.hyper.model_dim = 128;
  run.hyper.num_heads = 4;
  run.hyper.num_kv_heads = 4;
  run.hyper.ffn_dim = 256;
  titans.theta_max = 0.05f;
  run.training = {.is_recall = false,
                  .num_steps = 800,
                  .num_sequences = 4,
                  .min_length = 128,
                  .length = 512,
                  .gate_penalty = 0.0,
                  .eta_penalty = 0.0,
                  .growth_penalty = 1.0,
                  .alpha_bias = -2.2};
}

// The lines that steps before `step` left.
absl::StatusOr<std::string> LossUpTo(const std::string& path, int64_t step) {
  if (step == 0) return std::string(kLossHeader);
  HEADWISE_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (static_cast<int64_t>(lines.size()) < step + 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", lines.size(), " lines, but the state is of step ", step));
  }
  std::string kept;
  for (int64_t i = 0; i <= step; ++i) {
    absl::StrAppend(&kept, lines[static_cast<size_t>(i)], "\n");
  }
  return kept;
}

std::string LossLine(const TitansStep& step, double seconds) {
  return absl::StrFormat("%d,%d,%.6g,%.6g,%.4f,%.6g,%.6g,%.4f,%.3f,%d\n",
                         step.step, step.num_tokens, step.learning_rate,
                         step.loss, step.accuracy, step.theta_share,
                         step.alpha_share, step.mean_eta, seconds,
                         step.is_skipped ? 1 : 0);
}

// Column `column` of the lines of loss.csv.
std::vector<double> ColumnOf(const std::string& csv, size_t column) {
  std::vector<double> values;
  const std::vector<std::string> lines = absl::StrSplit(csv, '\n');
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = absl::StrSplit(lines[i], ',');
    if (cells.size() <= column) continue;
    const double value = std::stod(cells[column]);
    if (std::isfinite(value)) values.push_back(value);  // not of skipped steps
  }
  return values;
}

double MeanOfLast(const std::vector<double>& values, int64_t count) {
  const int64_t size = static_cast<int64_t>(values.size());
  const int64_t first = std::max<int64_t>(0, size - count);
  double sum = 0.0;
  for (int64_t i = first; i < size; ++i) sum += values[static_cast<size_t>(i)];
  return size == 0 ? 0.0 : sum / static_cast<double>(size - first);
}

absl::Status TrainToEnd(const TitansRunFiles& files, TitansTrainer& trainer) {
  const std::string path = files.folder + "/loss.csv";
  if (!files.state.empty() && std::ifstream(files.state).good()) {
    HEADWISE_RETURN_IF_ERROR(trainer.Load(files.state));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::string before,
                            LossUpTo(path, trainer.step()));
  std::ofstream csv(path, std::ios::binary);
  csv << before;
  while (!trainer.done()) {
    const absl::Time begin = absl::Now();
    HEADWISE_ASSIGN_OR_RETURN(const TitansStep step, trainer.Step());
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    csv << LossLine(step, seconds) << std::flush;
    if (step.step % kStepsPerLine == 0 || trainer.done()) {
      std::fputs(LossLine(step, seconds).c_str(), stderr);
    }
    if (!files.state.empty() &&
        (trainer.done() || trainer.step() % kStepsPerSave == 0)) {
      HEADWISE_RETURN_IF_ERROR(trainer.Save(files.state));
    }
  }
  csv.close();
  if (csv) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path, ": can't be written"));
}

Json MeasureAll(const TitansRunFiles& files, const TitansRun& run,
                const TitansWeights& weights, const TitansText& text) {
  const auto bits = [&](int64_t length) {
    return TextLoss(weights, text.held_out, length, /*num_windows=*/16) /
           std::log(2.0);
  };
  Json json = Json::object();
  if (!run.training.is_recall) {
    json["held_out_bits_per_byte"] = bits(run.training.length);
    json["held_out_bits_per_byte_at_4096"] = bits(4096);
    return json;
  }
  Json recall = Json::array();
  for (const int64_t context : files.contexts) {
    recall.push_back(
        RecallToJson(MeasureRecall(weights, text.held_out,
                                   {.context = context,
                                    .num_pairs = run.training.num_pairs,
                                    .seed = run.training.seed})));
    std::fprintf(stderr, "recall %s\n", recall.back().dump().c_str());
  }
  json["recall"] = recall;
  return json;
}

std::string TaskJson() {
  const Json json = {{"kind", "recall"},
                     {"key_ids", {kFirstTitansKey, kFirstTitansValue}},
                     {"value_ids", {kFirstTitansValue, kTitansEnd}},
                     {"text_ids", {0, kFirstTitansKey}}};
  return json.dump(2) + "\n";
}

}  // namespace

absl::StatusOr<TitansRun> TitansPreset(const std::string& name) {
  TitansRun run;
  if (name == "smallest") return run;
  const std::vector<std::string> parts = absl::StrSplit(name, '-');
  const bool is_known =
      (parts.size() == 2 || parts.size() == 3) &&
      (parts[1] == "recall" || parts[1] == "text") &&
      (parts.size() == 2 || parts[2] == "linear" || parts[2] == "keep");
  if (!is_known) {
    return absl::InvalidArgumentError(
        absl::StrCat("preset: \"", name,
                     "\" is neither \"smallest\" nor "
                     "VARIANT-{recall,text}[-{linear,keep}]"));
  }
  TitansHyperparameters& titans = *run.hyper.titans;
  HEADWISE_ASSIGN_OR_RETURN(titans.variant, ParseTitansVariant(parts[0]));
  if (parts[1] == "text") ForText(run);
  if (parts[1] == "recall") {
    // Too few tokens for attention to guess among the values of a sequence.
    titans.window = 16;
    run.training.num_steps = 1500;
  }
  if (titans.variant == TitansVariant::kMac) {
    titans.window = titans.memory.chunk_len;
    titans.conv_kernel = 1;
    // Its keys, which attention gives, are alike.
    titans.theta_max = parts[1] == "text" ? 0.01f : 0.1f;
  }
  if (titans.is_mixed()) run.training.growth_penalty = 1.0;
  const std::string ablation = parts.size() == 3 ? parts[2] : "";
  if (ablation == "linear") {
    titans.memory.num_layers = 1;
    run.training.no_momentum = true;
  }
  if (ablation == "keep") run.training.no_forgetting = true;
  return run;
}

absl::Status RunTitansTraining(const TitansRun& run,
                               const TitansRunFiles& files) {
  HEADWISE_RETURN_IF_ERROR(CheckTitansShape(run.hyper));
  HEADWISE_RETURN_IF_ERROR(CheckTitansTraining(run.training, run.hyper));
  HEADWISE_ASSIGN_OR_RETURN(const TitansText text, ReadTitansText(files.text));
  std::error_code error;
  std::filesystem::create_directories(files.folder, error);
  TitansTrainer trainer(run.hyper, run.training, text);
  HEADWISE_RETURN_IF_ERROR(TrainToEnd(files, trainer));
  HEADWISE_RETURN_IF_ERROR(WriteTitansFolder(files.folder, trainer.weights()));
  if (run.training.is_recall) {
    HEADWISE_RETURN_IF_ERROR(
        WriteTextFile(files.folder + "/task.json", TaskJson()));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::string csv,
                            ReadTextFile(files.folder + "/loss.csv"));
  double seconds = 0.0;
  for (const double of_step : ColumnOf(csv, 8)) seconds += of_step;
  Json json = {{"manifest", TitansManifest(run.hyper, run.training, text)},
               {"parameters", trainer.weights().num_parameters()},
               {"train_seconds", seconds},
               {"final_loss", MeanOfLast(ColumnOf(csv, 3), kLastSteps)},
               {"final_accuracy", MeanOfLast(ColumnOf(csv, 4), kLastSteps)}};
  json.update(MeasureAll(files, run, trainer.weights(), text));
  return WriteTextFile(files.folder + "/lab.json", json.dump(2) + "\n");
}

}  // namespace headwise
