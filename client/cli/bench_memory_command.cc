#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/bench_commands.h"
#include "client/cli/bench_memory_model.h"
#include "client/cli/bench_memory_report.h"
#include "client/cli/bench_memory_runner.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/progress_bar.h"

namespace headwise {
namespace {

// A text that every Debian has.
constexpr char kDefaultHaystack[] = "/usr/share/common-licenses/GPL-3";

struct MemoryFlags {
  ClusterFlags cluster;  // model empty: hand-set gates
  MemoryBenchOptions hand;
  MemoryModelOptions model;
  std::string haystack = kDefaultHaystack;
  bool json = false;
};

absl::StatusOr<MemoryBenchReport> RunHandSet(const MemoryFlags& flags,
                                             ProgressBar& bar) {
  MemoryBenchOptions options = flags.hand;
  const MemorySpec& spec = options.spec;
  if (spec.num_layers == 1) options.spec.hidden_dim = 0;
  options.threads =
      flags.cluster.threads > 0
          ? flags.cluster.threads
          : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  HEADWISE_ASSIGN_OR_RETURN(options.isa, ParseIsa(flags.cluster.isa));
  options.on_progress = [&bar](double fraction) { bar.Show(fraction); };
  MemoryBenchReport report;
  report.title = absl::StrFormat(
      "%d head(s) of %d, %d layer(s), hidden %d, chunks of %d; %d needles of "
      "%d candidates, %d run(s)\ntheta %g for needles, %g for filler; eta %g, "
      "alpha %g",
      options.num_heads, spec.head_dim, spec.num_layers,
      options.spec.hidden_dim, spec.chunk_len, options.num_needles,
      options.num_candidates, options.num_seeds, options.needle_theta,
      options.filler_theta, options.eta, options.alpha);
  report.setup = {{"gates", "hand-set"},
                  {"heads", options.num_heads},
                  {"head_dim", spec.head_dim},
                  {"layers", spec.num_layers},
                  {"hidden", options.spec.hidden_dim},
                  {"chunk", spec.chunk_len},
                  {"needles", options.num_needles},
                  {"candidates", options.num_candidates},
                  {"needle_theta", options.needle_theta},
                  {"filler_theta", options.filler_theta},
                  {"careless_theta", options.careless_theta},
                  {"eta", options.eta},
                  {"alpha", options.alpha},
                  {"window", options.window},
                  {"seed", options.seed},
                  {"seeds", options.num_seeds},
                  {"threads", options.threads},
                  {"isa", IsaName(options.isa)}};
  HEADWISE_ASSIGN_OR_RETURN(report.rows, RunMemoryBench(options));
  return report;
}

absl::StatusOr<MemoryBenchReport> RunModel(const MemoryFlags& flags,
                                           ProgressBar& bar) {
  MemoryModelOptions options = flags.model;
  options.context_lens = flags.hand.context_lens;
  options.num_needles = flags.hand.num_needles;
  options.seed = flags.hand.seed;
  options.num_seeds = flags.hand.num_seeds;
  HEADWISE_ASSIGN_OR_RETURN(options.haystack,
                            ReadText({.file = flags.haystack}));
  if (options.haystack.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("haystack: ", flags.haystack, " is empty"));
  }
  options.on_progress = [&bar](double fraction) { bar.Show(fraction); };
  MemoryBenchReport report;
  report.title = absl::StrFormat(
      "%s with its own gates; %d needles in %s, %d run(s)", flags.cluster.model,
      options.num_needles, flags.haystack, options.num_seeds);
  report.setup = {{"gates", "learned"},
                  {"model", flags.cluster.model},
                  {"haystack", flags.haystack},
                  {"needles", options.num_needles},
                  {"spread", options.spread},
                  {"seed", options.seed},
                  {"seeds", options.num_seeds},
                  {"workers", flags.cluster.local_workers},
                  {"threads", flags.cluster.threads},
                  {"isa", flags.cluster.isa}};
  HEADWISE_ASSIGN_OR_RETURN(report.rows,
                            RunMemoryModelBench(flags.cluster, options));
  return report;
}

absl::Status RunMemory(const MemoryFlags& flags) {
  MemoryBenchReport report;
  {
    ProgressBar bar("memory");
    HEADWISE_ASSIGN_OR_RETURN(report, flags.cluster.model.empty()
                                          ? RunHandSet(flags, bar)
                                          : RunModel(flags, bar));
  }
  if (flags.json) {
    PrintJsonLine(MemoryBenchToJson(report));
  } else {
    std::fputs(RenderMemoryBench(report).c_str(), stdout);
  }
  return absl::OkStatus();
}

template <typename T>
CLI::Option* AddNumber(CLI::App& command, const char* name, T& value,
                       const char* what, double max) {
  return command.add_option(name, value, what)
      ->check(CLI::Range(std::is_integral_v<T> ? 1.0 : 0.0, max))
      ->capture_default_str();
}

void AddHandFlags(CLI::App& command, MemoryBenchOptions& hand) {
  const std::string group = "Hand-set gates (without --model)";
  CLI::Option* model = command.get_option("--model");
  for (CLI::Option* option :
       {AddNumber(command, "--heads", hand.num_heads,
                  "Memories side by side, each with its part of a row", 64),
        AddNumber(command, "--head-dim", hand.spec.head_dim,
                  "Floats of a key and of a value, a multiple of 16", 256),
        AddNumber(command, "--layers", hand.spec.num_layers,
                  "Layers of the memory", 4),
        AddNumber(command, "--hidden", hand.spec.hidden_dim,
                  "Width between them, a multiple of 16", 1024),
        AddNumber(command, "--chunk", hand.spec.chunk_len, "Tokens of a chunk",
                  4096),
        AddNumber(command, "--candidates", hand.num_candidates,
                  "Values that a needle is told apart from", 65536),
        AddNumber(command, "--needle-theta", hand.needle_theta,
                  "Step size that needles are written with", 1000),
        AddNumber(command, "--filler-theta", hand.filler_theta,
                  "The same of filler", 1000),
        AddNumber(command, "--careless-theta", hand.careless_theta,
                  "The same of the baseline \"careless\"", 1000),
        AddNumber(command, "--eta", hand.eta, "Decay of momentum", 1),
        AddNumber(command, "--alpha", hand.alpha, "Forgetting", 1),
        AddNumber(command, "--window", hand.window,
                  "Tokens that the baseline \"window\" sees", 1 << 30),
        command
            .add_option("--baselines", hand.baselines,
                        "What stands beside the memory; \"\": nothing")
            ->delimiter(',')
            ->check(CLI::IsMember(MemoryBaselines()) | CLI::IsMember({""}))
            ->capture_default_str()}) {
    option->group(group)->excludes(model);
  }
}

void AddModelFlags(CLI::App& command, MemoryFlags& flags) {
  const std::string group = "Learned gates (with --model)";
  CLI::Option* model = command.get_option("--model");
  for (CLI::Option* option :
       {command
            .add_option("--haystack", flags.haystack,
                        "A text to hide needles in, repeated to the length")
            ->check(CLI::ExistingFile)
            ->capture_default_str(),
        command
            .add_option("--depths", flags.model.depths,
                        "Where needles are: 0 the begin, 1 the end, e.g. 0,0.5")
            ->delimiter(',')
            ->check(CLI::Range(0.0, 1.0))
            ->capture_default_str(),
        AddNumber(command, "--spread", flags.model.spread,
                  "Tokens that the needles are dealt over", 1 << 30)}) {
    option->group(group)->needs(model);
  }
}

}  // namespace

void AddBenchMemoryCommand(CLI::App& bench, CommandRun* run) {
  CLI::App* command = bench.add_subcommand(
      "memory", "What a neural memory recalls after very many tokens");
  auto flags = std::make_shared<MemoryFlags>();
  AddClusterFlags(*command, flags->cluster);
  CLI::Option* model = command->get_option("--model");
  model->description(
      "The folder of a trained Titans model with a task.json; else the gates "
      "below are set by hand");
  for (const char* name :
       {"--local-workers", "--workers", "--speed", "--prefill-chunk",
        "--kv-type", "--group", "--ranks-per-context", "--reduction"}) {
    command->get_option(name)->needs(model);
  }
  command->remove_option(command->get_option("--context"));
  command
      ->add_option("--context", flags->hand.context_lens,
                   "Tokens between needles and questions, e.g. 16384,2000000")
      ->required()
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  AddNumber(*command, "--needles", flags->hand.num_needles,
            "Pairs that are written, and asked for in the end", 65536);
  command
      ->add_option("--seed", flags->hand.seed,
                   "Of the first run: the same seed gives the same bits")
      ->capture_default_str();
  AddNumber(*command, "--seeds", flags->hand.num_seeds,
            "Runs with needles of their own", 1000);
  AddHandFlags(*command, flags->hand);
  AddModelFlags(*command, *flags);
  command->add_flag("--json", flags->json,
                    "One JSON object; docs/memory-bench.md names its keys");
  command->footer(
      "Example:\n  headwise bench memory --context 16384,131072,2000000 "
      "--seeds 5 --threads 1\n  headwise bench memory -m FOLDER --context "
      "65536 --threads 1");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunMemory(*flags); }; });
}

}  // namespace headwise
