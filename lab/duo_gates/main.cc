// headwise-lab-duo-gates: DuoAttention's gates of a model, by gradient.

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "lab/duo_gates/gate_trainer.h"
#include "model/head_plan/head_plan_text.h"
#include "model/head_scores/head_scores_json.h"
#include "model/head_scores/plan_from_scores.h"

namespace headwise {
namespace {

struct Flags {
  std::string model;
  std::string out;
  std::string plan;
  std::string state;
  std::string haystack;
  double keep = 0.25;
  int threads = 0;
  GateOptions options;
};

constexpr char kDescription[] =
    R"(Trains one gate per KV head (DuoAttention, Xiao et al., arXiv 2410.10819).

  headwise-lab-duo-gates --model M.gguf -o scores.json --plan plan.json

Prints one line of CSV per step. The scores are what `headwise plan calibrate
--from-scores` reads, the plan what `headwise generate --plan` does. With --state
a run that was ended goes on where it was.

Exit status: 0; 2 for flags, a model or a state that can't be used, or if an
output can't be written; 100 and above: wrong usage.
)";

void AddOutputFlags(CLI::App& app, Flags& flags) {
  app.add_option("-m,--model", flags.model,
                 "GGUF or safetensors file, or a folder of the latter")
      ->required();
  app.add_option("-o,--out", flags.out, "the gates, as scores of heads")
      ->required();
  app.add_option("--plan", flags.plan,
                 "a head plan: the best units full, the others streaming");
  app.add_option("--keep", flags.keep, "part of the units that stay full")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option(
      "--state", flags.state,
      "where the run is kept after each step; it goes on from there");
  app.add_option("--threads", flags.threads, "0: LibTorch's choice")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

void AddTrainingFlags(CLI::App& app, Flags& flags) {
  GateOptions& options = flags.options;
  const auto add = [&](const char* name, auto& value, const char* text) {
    app.add_option(name, value, text)->capture_default_str();
  };
  add("--steps", options.num_steps, "one prompt each");
  add("--length", options.length, "tokens of the longest prompt");
  add("--min-length", options.min_length, "of the shortest; 0: all as long");
  add("--needles", options.num_needles, "pass keys of a prompt");
  add("--words", options.num_words, "of a pass key");
  add("--sinks", options.num_sinks, "positions that streaming heads keep");
  add("--window", options.window, "last positions that they see");
  add("--l1", options.l1_weight, "weight of the mean gate in the loss");
  add("--learning-rate", options.learning_rate, "at its peak");
  add("--segment-layers", options.segment_layers,
      "layers whose activations are held at once, the others run twice; 0: "
      "all");
  add("--seed", options.seed, "of the prompts");
  app.add_option("--haystack", flags.haystack,
                 "text to hide pass keys in; default: drawn sentences")
      ->check(CLI::ExistingFile);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": can't be read"));
  return text.str();
}

absl::Status WriteText(const std::string& text, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(path, ": can't be written"));
}

absl::Status WriteOutputs(const Flags& flags, const HeadScores& scores) {
  HEADWISE_RETURN_IF_ERROR(
      WriteText(HeadScoresToJson(scores).dump() + "\n", flags.out));
  if (flags.plan.empty()) return absl::OkStatus();
  PlanRule rule;
  rule.fraction = flags.keep;
  rule.rest.num_sinks = flags.options.num_sinks;
  rule.rest.window = flags.options.window;
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, PlanFromScores(scores, rule));
  return WriteText(HeadPlanToText(plan), flags.plan);
}

absl::Status Train(const Flags& flags, GateTrainer& trainer) {
  if (!flags.state.empty() && std::ifstream(flags.state).good()) {
    HEADWISE_RETURN_IF_ERROR(trainer.Load(flags.state));
  }
  std::puts(
      "step,tokens,labelled,learning_rate,distill_loss,mean_gate,loss,seconds");
  while (!trainer.done()) {
    const absl::Time begin = absl::Now();
    HEADWISE_ASSIGN_OR_RETURN(const GateStep step, trainer.Step());
    std::printf("%ld,%ld,%ld,%.6g,%.6g,%.6g,%.6g,%.3f\n", step.step,
                step.num_tokens, step.num_labelled, step.learning_rate,
                step.distill_loss, step.mean_gate, step.loss,
                absl::ToDoubleSeconds(absl::Now() - begin));
    std::fflush(stdout);
    if (!flags.state.empty()) {
      HEADWISE_RETURN_IF_ERROR(trainer.Save(flags.state));
    }
  }
  return WriteOutputs(flags, trainer.Scores());
}

absl::Status Run(Flags& flags) {
  if (flags.threads > 0) torch::set_num_threads(flags.threads);
  if (!flags.haystack.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(flags.options.haystack, ReadFile(flags.haystack));
  }
  HEADWISE_ASSIGN_OR_RETURN(const auto opened, Model::Open(flags.model));
  HEADWISE_RETURN_IF_ERROR(
      CheckGateOptions(flags.options, opened->hyperparameters()));
  HEADWISE_ASSIGN_OR_RETURN(const auto tokenizer,
                            Tokenizer::Create(opened->tokenizer_data()));
  HEADWISE_ASSIGN_OR_RETURN(
      const Haystack haystack,
      Haystack::Create(*tokenizer, flags.options.haystack));
  const TorchModel model(*opened);
  opened->DropPages();
  GateTrainer trainer(model, opened->Sha256(), flags.options,
                      [&](int64_t step) {
                        return MakeGateSample(haystack, flags.options, step);
                      });
  return Train(flags, trainer);
}

absl::Status RunCatching(Flags& flags) {
  try {
    return Run(flags);
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  }
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(kDescription);
  AddOutputFlags(app, flags);
  AddTrainingFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = RunCatching(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "headwise-lab-duo-gates: %s\n",
               std::string(status.message()).c_str());
  return 2;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
