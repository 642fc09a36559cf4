// headwise-lab-titans: small models with a neural memory, trained.

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "lab/titans/titans_folder.h"
#include "lab/titans/titans_recall.h"
#include "lab/titans/titans_run.h"
#include "lab/titans/titans_table.h"

namespace headwise {
namespace {

constexpr char kDescription[] =
    R"(Trains small Titans models (Behrouz et al., arXiv 2501.00663).

  headwise-lab-titans train --preset smallest -o FOLDER
  headwise-lab-titans recall -m FOLDER --context 131072
  headwise-lab-titans table -o PREFIX FOLDER ...

`train` writes a model that the service loads (docs/titans-models.md) beside
loss.csv and lab.json; with --state a run that was ended goes on where it was.
`recall` streams text through a model and asks for pairs from its begin. `table`
compares runs: PREFIX.csv, PREFIX.svg and, of their losses, PREFIX-loss.csv and
-loss.svg.

Exit status: 0; 2 for flags, a model or a state that can't be used, or if an
output can't be written; 100 and above: wrong usage.
)";

// What replaces the preset's.
struct Overrides {
  std::optional<int64_t> steps, sequences, min_length, length, detach_chunks;
  std::optional<double> learning_rate, gate_penalty, eta_penalty,
      growth_penalty, theta_bias, alpha_bias;
  std::optional<float> theta_max;
  std::optional<uint64_t> seed;
};

struct Flags {
  std::string preset = "smallest";
  TitansRunFiles files = {.text = "/usr/share/common-licenses",
                          .contexts = {512, 4096, 16384}};
  Overrides overrides;
  std::string model;
  RecallTest test;
  std::string prefix;
  std::vector<std::string> folders;
  int threads = 0;
};

void AddTrain(CLI::App& app, Flags& flags) {
  CLI::App* train = app.add_subcommand("train", "train a model");
  train->add_option("-o,--out", flags.files.folder, "the model's folder")
      ->required();
  train
      ->add_option("--preset", flags.preset,
                   "smallest, or VARIANT-{recall,text}[-{linear,keep}] of mac, "
                   "mag, mal, lmm, swa")
      ->capture_default_str();
  train->add_option("--text", flags.files.text, "a folder of text, or a file")
      ->capture_default_str();
  train->add_option("--state", flags.files.state,
                    "where the run is kept now and then; it goes on from "
                    "there");
  train
      ->add_option("--contexts", flags.files.contexts,
                   "tokens that recall is measured at in the end")
      ->delimiter(',')
      ->capture_default_str();
  Overrides& overrides = flags.overrides;
  const auto add = [&](const char* name, auto& value, const char* text) {
    train->add_option(name, value, text);
  };
  add("--steps", overrides.steps, "as all below: default, the preset's");
  add("--sequences", overrides.sequences, "of a batch of the longest");
  add("--min-length", overrides.min_length, "tokens; the first steps'");
  add("--length", overrides.length, "tokens of the longest");
  add("--detach-chunks", overrides.detach_chunks,
      "chunks that gradients go back through; 0: all");
  add("--learning-rate", overrides.learning_rate, "at its peak");
  add("--gate-penalty", overrides.gate_penalty,
      "of the mean sigma of write and forget gates");
  add("--eta-penalty", overrides.eta_penalty, "of that of momentum's");
  add("--growth-penalty", overrides.growth_penalty,
      "of memories that grow beyond twice their initial squared norm");
  add("--theta-bias", overrides.theta_bias, "of write gates, to start with");
  add("--alpha-bias", overrides.alpha_bias, "of forget gates");
  add("--theta-max", overrides.theta_max, "theta where its gate is 1");
  add("--seed", overrides.seed, "of weights and samples");
}

void AddOthers(CLI::App& app, Flags& flags) {
  CLI::App* recall = app.add_subcommand("recall", "ask a model");
  recall->add_option("-m,--model", flags.model, "its folder")->required();
  recall->add_option("--text", flags.files.text, "a folder of text, or a file")
      ->capture_default_str();
  const auto add = [&](const char* name, auto& value, const char* text) {
    recall->add_option(name, value, text)->capture_default_str();
  };
  add("--context", flags.test.context, "tokens, a multiple of 512");
  add("--pairs", flags.test.num_pairs, "of a sequence");
  add("--sequences", flags.test.num_sequences, "asked side by side");
  add("--seed", flags.test.seed, "of pairs and text");
  CLI::App* table = app.add_subcommand("table", "compare runs");
  table->add_option("-o,--out", flags.prefix, "the outputs' prefix")
      ->required();
  table->add_option("folders", flags.folders, "of runs")->required();
  app.add_option("--threads", flags.threads, "0: LibTorch's choice")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.require_subcommand(1);
}

void Apply(const Overrides& overrides, TitansRun& run) {
  TitansTraining& training = run.training;
  const auto set = [](const auto& value, auto& field) {
    if (value) field = *value;
  };
  set(overrides.steps, training.num_steps);
  set(overrides.sequences, training.num_sequences);
  set(overrides.min_length, training.min_length);
  set(overrides.length, training.length);
  set(overrides.detach_chunks, training.detach_chunks);
  set(overrides.learning_rate, training.learning_rate);
  set(overrides.gate_penalty, training.gate_penalty);
  set(overrides.eta_penalty, training.eta_penalty);
  set(overrides.growth_penalty, training.growth_penalty);
  set(overrides.theta_bias, training.theta_bias);
  set(overrides.alpha_bias, training.alpha_bias);
  set(overrides.theta_max, run.hyper.titans->theta_max);
  set(overrides.seed, training.seed);
}

absl::Status RunTrain(const Flags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(TitansRun run, TitansPreset(flags.preset));
  Apply(flags.overrides, run);
  for (const int64_t context : flags.files.contexts) {
    HEADWISE_RETURN_IF_ERROR(CheckRecallTest({.context = context}));
  }
  return RunTitansTraining(run, flags.files);
}

absl::Status RunRecall(const Flags& flags) {
  HEADWISE_RETURN_IF_ERROR(CheckRecallTest(flags.test));
  HEADWISE_ASSIGN_OR_RETURN(const auto weights, ReadTitansFolder(flags.model));
  HEADWISE_ASSIGN_OR_RETURN(const TitansText text,
                            ReadTitansText(flags.files.text));
  const RecallResult result =
      MeasureRecall(*weights, text.held_out, flags.test);
  std::puts(RecallToJson(result).dump().c_str());
  return absl::OkStatus();
}

absl::Status Run(const CLI::App& app, const Flags& flags) {
  if (flags.threads > 0) torch::set_num_threads(flags.threads);
  try {
    if (app.got_subcommand("train")) return RunTrain(flags);
    if (app.got_subcommand("recall")) return RunRecall(flags);
    return WriteTitansTable(flags.folders, flags.prefix);
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  }
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(kDescription);
  AddTrain(app, flags);
  AddOthers(app, flags);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Run(app, flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "headwise-lab-titans: %s\n",
               std::string(status.message()).c_str());
  return 2;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
