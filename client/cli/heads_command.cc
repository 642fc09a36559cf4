#include <cstdio>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/head_map_picture.h"
#include "client/cli/json_output.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct HeadsMapFlags {
  ClusterFlags cluster;
  bool dry_run = false;
  std::vector<int64_t> memory_mib;  // of each planned worker
  int64_t plan_context_len = 0;
  bool json = false;
};

v1::PlanPlacementRequest PlanOf(const HeadsMapFlags& flags) {
  v1::PlanPlacementRequest request;
  request.set_context_len(flags.plan_context_len);
  const size_t num_workers = std::max<size_t>(
      flags.cluster.speeds.size(),
      std::max<size_t>(flags.memory_mib.size(), flags.cluster.local_workers));
  for (size_t i = 0; i < num_workers; ++i) {
    v1::PlannedWorker& worker = *request.add_workers();
    if (i < flags.cluster.speeds.size()) {
      worker.set_speed(flags.cluster.speeds[i]);
    }
    if (i < flags.memory_mib.size()) {
      worker.set_memory_bytes(flags.memory_mib[i] << 20);
    }
  }
  return request;
}

absl::StatusOr<v1::HeadMap> GetMap(const HeadsMapFlags& flags) {
  if (flags.dry_run && flags.cluster.server.empty()) {
    // No weight is loaded for a plan.
    return PlanLocally(flags.cluster, PlanOf(flags));
  }
  // Who asks wants to know how it is now.
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster, {.max_attempts = 1}));
  if (flags.dry_run) {
    v1::PlanPlacementRequest request = PlanOf(flags);
    request.set_plan(session->plan());
    return session->client().PlanPlacement(request);
  }
  v1::GetHeadMapRequest request;
  request.set_plan(session->plan());
  return session->client().GetHeadMap(request);
}

absl::Status RunHeadsMap(const HeadsMapFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const v1::HeadMap map, GetMap(flags));
  if (flags.json) {
    PrintJsonLine(HeadMapToJson(map));
    return absl::OkStatus();
  }
  std::fputs(RenderHeadMap(map, StdoutPicture()).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddHeadsCommand(CLI::App& app, CommandRun* run) {
  CLI::App* heads =
      app.add_subcommand("heads", "See the heads and who holds them");
  heads->require_subcommand(1);
  CLI::App* command =
      heads->add_subcommand("map", "Which worker holds which KV head");
  auto flags = std::make_shared<HeadsMapFlags>();
  AddSessionFlags(*command, flags->cluster);
  // Speeds are those of planned workers too, and a server can plan.
  CLI::Option* server = command->get_option("--server");
  for (const char* name : {"--speed", "--local-workers"}) {
    CLI::Option* option = command->get_option(name);
    option->remove_excludes(server);
    server->remove_excludes(option);
  }
  AddPlanFlag(*command, flags->cluster);
  command->add_flag("--dry-run", flags->dry_run,
                    "What workers of the given --speed and --memory would "
                    "get");
  command
      ->add_option("--memory", flags->memory_mib,
                   "MiB of each planned worker; 0: unlimited")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->needs("--dry-run");
  command
      ->add_option("--plan-context", flags->plan_context_len,
                   "Tokens of KV in the dry run's forecast")
      ->check(CLI::NonNegativeNumber)
      ->needs("--dry-run");
  command->add_flag("--json", flags->json, "The map as one JSON object");
  command->footer(
      "Examples:\n"
      "  headwise heads map --server 127.0.0.1:7600\n"
      "  headwise heads map -m M --local-workers 2 --speed 1,0.5\n"
      "  headwise heads map --server 127.0.0.1:7600 --plan dc9ad24e\n"
      "  headwise heads map -m M --dry-run --speed 1,1,0.5 --memory "
      "512,512,256\n"
      "NO_COLOR in the environment switches colours off.");
  command->final_callback([run, flags, command] {
    if (!flags->dry_run && !flags->cluster.server.empty()) {
      for (const char* name : {"--speed", "--local-workers"}) {
        if (command->count(name) == 0) continue;
        throw CLI::RequiresError(std::string(name) + " with --server",
                                 "--dry-run");
      }
    }
    *run = [flags] { return RunHeadsMap(*flags); };
  });
}

}  // namespace headwise
