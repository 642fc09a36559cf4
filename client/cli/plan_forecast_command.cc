#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/local_server.h"
#include "client/cli/plan_commands.h"
#include "client/cli/plan_forecast.h"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

struct ForecastFlags {
  std::string plan;
  ClusterFlags cluster;  // model, kv_type, local_workers, speeds
  int64_t context_len = 0;
  int64_t memory_bytes = 0;
  // What placement takes for speed 1 too.
  double gigabytes_per_second = 17.5;
  bool json = false;
};

v1::PlanPlacementRequest PlacementOf(const ClusterFlags& flags) {
  v1::PlanPlacementRequest request;
  const size_t num_workers = std::max<size_t>(
      flags.speeds.size(), static_cast<size_t>(flags.local_workers));
  for (size_t i = 0; i < num_workers; ++i) {
    v1::PlannedWorker& worker = *request.add_workers();
    if (i < flags.speeds.size()) worker.set_speed(flags.speeds[i]);
  }
  return request;
}

absl::Status RunForecast(const ForecastFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, ReadHeadPlanFile(flags.plan));
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            OpenModelOfPlan(plan, flags.cluster.model));
  PlanForecastOptions options;
  HEADWISE_ASSIGN_OR_RETURN(options.kv.kv_type,
                            ParseKvType(flags.cluster.kv_type));
  options.kv.head_dim = model->hyperparameters().head_dim;
  options.kv.context_len = flags.context_len;
  options.kv.prompt_len = flags.context_len;
  options.memory_bytes = flags.memory_bytes;
  options.bytes_per_second = flags.gigabytes_per_second * 1e9;
  HEADWISE_ASSIGN_OR_RETURN(
      const v1::HeadMap map,
      PlanLocally(flags.cluster, PlacementOf(flags.cluster)));
  const PlanForecast forecast = ForecastPlan(plan, map, options);
  if (flags.json) {
    PrintJsonLine(PlanForecastToJson(forecast));
  } else {
    std::fputs(RenderPlanForecast(forecast).c_str(), stdout);
  }
  return absl::OkStatus();
}

void AddWorkerFlags(CLI::App& command, ForecastFlags& flags) {
  command
      .add_option("--local-workers", flags.cluster.local_workers,
                  "Workers that share the heads")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command
      .add_option("--speed", flags.cluster.speeds,
                  "Relative speed of each worker, e.g. 1,0.5")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::PositiveNumber);
  command
      .add_option("--memory-bytes", flags.memory_bytes,
                  "Of each worker, for weights and KV: adds the longest "
                  "context that fits")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--bandwidth", flags.gigabytes_per_second,
                  "GB/s that a worker of speed 1 reads from memory")
      ->check(CLI::Range(1e-3, 1e6))
      ->capture_default_str();
}

}  // namespace

void AddPlanForecastCommand(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "forecast", "Bytes and time of a plan before it is applied");
  auto flags = std::make_shared<ForecastFlags>();
  AddPlanFile(*command, "plan", flags->plan);
  AddModelFlag(*command, flags->cluster);
  command->get_option("--model")->required();
  command
      ->add_option("--context-len", flags->context_len,
                   "Positions of one sequence, all of them prompt")
      ->required()
      ->check(CLI::Range(int64_t{1}, kMaxForecastContext));
  command
      ->add_option("--kv-type", flags->cluster.kv_type,
                   "The server's: of units whose plan names none")
      ->check(CLI::IsMember({"fp32", "fp16", "bf16", "int8"}))
      ->capture_default_str();
  AddWorkerFlags(*command, *flags);
  command->add_flag("--json", flags->json,
                    "The forecast as one JSON object, bytes as numbers");
  command->footer(
      "held: at the last position; reserved: the most on the way there, which "
      "is what\nadmission sets aside; read: by one decoded token.\n"
      "Example:\n  headwise plan forecast plan.json -m M --context-len 65536 "
      "--memory-bytes 4000000000");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunForecast(*flags); }; });
}

}  // namespace headwise
