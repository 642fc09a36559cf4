#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/head_map_picture.h"
#include "client/cli/json_output.h"
#include "client/cli/plan_choice.h"
#include "client/cli/plan_commands.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct ApplyFlags {
  std::string plan;
  ClusterFlags cluster;  // server, timeout
  int64_t context_len = 0;
  bool json = false;
};

absl::StatusOr<v1::ForecastPlanResponse> Forecast(Client& client,
                                                  const std::string& plan,
                                                  int64_t context_len) {
  v1::ForecastPlanRequest request;
  request.set_stored(plan);
  request.set_context_len(context_len);
  return client.ForecastPlan(request);
}

nlohmann::ordered_json ToJson(const v1::ForecastPlanResponse& cost) {
  return {{"plan", cost.hash()},
          {"held_bytes", cost.total().held_bytes()},
          {"reserved_bytes", cost.total().reserved_bytes()},
          {"read_bytes", cost.total().read_bytes()},
          {"ms_per_token", cost.total().ms_per_token()},
          {"longest_context_len", cost.served_context_len()}};
}

void PrintChange(const v1::ForecastPlanResponse& before,
                 const v1::ForecastPlanResponse& after) {
  const v1::RankForecast& old_cost = before.total();
  const v1::RankForecast& new_cost = after.total();
  absl::PrintF("default plan     %s\n              -> %s\n", before.hash(),
               after.hash());
  absl::PrintF("KV of %d tokens  %s -> %s; %s with every unit full\n",
               after.context_len(), FormatBytes(old_cost.held_bytes()),
               FormatBytes(new_cost.held_bytes()),
               FormatBytes(after.full_bytes()));
  absl::PrintF("read by a token  %s -> %s\n",
               FormatBytes(old_cost.read_bytes()),
               FormatBytes(new_cost.read_bytes()));
  absl::PrintF("ms per token     %.3f -> %.3f at least\n",
               old_cost.ms_per_token(), new_cost.ms_per_token());
  absl::PrintF("longest context  %d -> %d tokens\n",
               before.served_context_len(), after.served_context_len());
}

absl::Status RunApply(const ApplyFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const PlanChoice choice,
                            ReadPlanChoice(flags.plan));
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  Client& client = session->client();
  // Costs first: nothing changes if they can't be told.
  HEADWISE_ASSIGN_OR_RETURN(const v1::ForecastPlanResponse before,
                            Forecast(client, "", flags.context_len));
  HEADWISE_ASSIGN_OR_RETURN(const std::string name,
                            NameAtServer(choice, client));
  HEADWISE_ASSIGN_OR_RETURN(const v1::ForecastPlanResponse after,
                            Forecast(client, name, flags.context_len));
  v1::SetDefaultPlanRequest request;
  request.set_plan(name);
  HEADWISE_RETURN_IF_ERROR(client.SetDefaultPlan(request).status());
  if (flags.json) {
    PrintJsonLine({{"context_len", after.context_len()},
                   {"full_bytes", after.full_bytes()},
                   {"before", ToJson(before)},
                   {"after", ToJson(after)}});
  } else {
    PrintChange(before, after);
  }
  return absl::OkStatus();
}

}  // namespace

void AddPlanApplyCommand(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "apply", "Make a plan the default of a running server");
  auto flags = std::make_shared<ApplyFlags>();
  command
      ->add_option("plan", flags->plan,
                   "A file, the hash of a plan that the server has, or "
                   "\"full\": every unit full again")
      ->required();
  AddServerFlags(*command, flags->cluster);
  command
      ->add_option("--context-len", flags->context_len,
                   "Tokens of the sequence whose cost is told; 0: the model's "
                   "context")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", flags->json,
                    "context_len, full_bytes, before, after");
  command->footer(
      "Requests that name no plan run under it from then on; those under way "
      "keep theirs.\n"
      "Example:\n  headwise plan apply plan.json --server 127.0.0.1:7600");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunApply(*flags); }; });
}

}  // namespace headwise
