#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/cli/bench_commands.h"
#include "client/cli/bench_needle_cluster.h"
#include "client/cli/bench_needle_report.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/plan_commands.h"
#include "client/cli/progress_bar.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/kv_forecast.h"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

struct NeedleFlags {
  NeedleBenchOptions bench;
  std::string plan;
  std::string needle = "passkey";
  std::string haystack;
  bool json = false;
};

absl::Status RunNeedle(const NeedleFlags& flags) {
  NeedleReport report = {.model = flags.bench.cluster.model,
                         .plan = flags.plan,
                         .needle = flags.needle,
                         .haystack = flags.haystack,
                         .num_seeds = flags.bench.task.num_seeds};
  NeedleBenchOptions bench = flags.bench;
  bench.task.kind =
      flags.needle == "word" ? NeedleKind::kWord : NeedleKind::kPassKey;
  // Ascending: the process keeps what a longer one before took of memory.
  std::sort(bench.context_lens.begin(), bench.context_lens.end());
  if (!flags.haystack.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(bench.task.haystack,
                              ReadUtf8Text({.file = flags.haystack}));
  }
  if (!flags.plan.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, ReadHeadPlanFile(flags.plan));
    HEADWISE_RETURN_IF_ERROR(
        OpenModelOfPlan(plan, bench.cluster.model).status());
    report.plan_hash = HeadPlanHash(plan);
    bench.plan = std::make_shared<const HeadPlan>(std::move(plan));
  }
  {
    ProgressBar loading("loading");
    ProgressBar tests("needles");
    bench.on_loading = [&](double fraction) { loading.Show(fraction); };
    bench.on_progress = [&](double fraction) {
      loading.Clear();
      tests.Show(fraction);
    };
    HEADWISE_ASSIGN_OR_RETURN(report.contexts, RunNeedleBench(bench));
  }
  if (flags.json) {
    PrintJsonLine(NeedleReportToJson(report));
  } else {
    std::fputs(RenderNeedleReport(report).c_str(), stdout);
  }
  return absl::OkStatus();
}

void AddTaskFlags(CLI::App& command, NeedleFlags& flags) {
  command
      .add_option("--context", flags.bench.context_lens,
                  "Lengths to test, e.g. 4096,8192: prompt and 32 new tokens")
      ->required()
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, kMaxForecastContext));
  command
      .add_option("--depths", flags.bench.task.num_depths,
                  "Places of the needle, evenly from begin to end")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      .add_option("--seeds", flags.bench.task.num_seeds,
                  "Tests of each depth, with needles of their own")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      .add_option("--needle", flags.needle,
                  "passkey: five digits; word: one of the spelling alphabet")
      ->check(CLI::IsMember({"passkey", "word"}))
      ->capture_default_str();
  command
      .add_option("--haystack", flags.haystack,
                  "A text to hide needles in, repeated to the length; else a "
                  "filler of five sentences")
      ->check(CLI::ExistingFile);
}

}  // namespace

void AddBenchNeedleCommand(CLI::App& bench, CommandRun* run) {
  CLI::App* command = bench.add_subcommand(
      "needle",
      "How well a plan finds a fact in a long text, and what it costs");
  auto flags = std::make_shared<NeedleFlags>();
  flags->bench.task.num_depths = 10;
  flags->bench.task.num_seeds = 3;
  AddClusterFlags(*command, flags->bench.cluster);
  command->get_option("--model")->required();
  // The caches are as large as the tests need.
  command->remove_option(command->get_option("--context"));
  AddTaskFlags(*command, *flags);
  command
      ->add_option("--plan", flags->plan, "A head plan; else every unit full")
      ->check(CLI::ExistingFile);
  command->add_flag("--baseline", flags->bench.baseline,
                    "Test with every unit full too, where the model reaches");
  command
      ->add_option("--parallel", flags->bench.parallel,
                   "Tests that hold KV at one time; 0: the seeds of a depth, "
                   "or as many as memory has room for")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  command->add_option("--state", flags->bench.state,
                      "Keep finished tests here, and go on from them; on "
                      "another machine too, as answers are equal");
  command->add_flag("--independent", flags->bench.independent,
                    "Run each test's whole prompt; the answers are equal");
  command->add_flag("--json", flags->json,
                    "One JSON object; docs/head-plans.md names its keys");
  command->footer(
      "Tests of one context share their text: it is run once, and each test "
      "goes on from\nwhere its needle stands. Times are of the first test, "
      "which runs whole and alone.\nExample:\n  headwise bench needle -m M "
      "--plan plan.json --context 4096,8192 --baseline --json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunNeedle(*flags); }; });
}

}  // namespace headwise
