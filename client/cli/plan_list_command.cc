#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/plan_commands.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct ListFlags {
  ClusterFlags cluster;  // server, timeout
  std::string plan;      // of `delete`
  bool json = false;
};

nlohmann::ordered_json ToJson(const v1::PlanInfo& info) {
  return {{"hash", info.hash()},
          {"is_default", info.is_default()},
          {"kv_share", info.kv_share()},
          {"num_full_units", info.num_full_units()},
          {"num_units", info.num_units()},
          {"longest_context_len", info.longest_context_len()},
          {"origin", info.origin()}};
}

// An origin comes from whoever put the plan: no control character of it reaches
// the terminal.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

absl::Status RunList(const ListFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  HEADWISE_ASSIGN_OR_RETURN(const v1::ListPlansResponse list,
                            session->client().ListPlans({}));
  if (flags.json) {
    nlohmann::ordered_json plans = nlohmann::ordered_json::array();
    for (const v1::PlanInfo& info : list.plans()) plans.push_back(ToJson(info));
    PrintJsonLine({{"default_plan", list.default_plan()}, {"plans", plans}});
    return absl::OkStatus();
  }
  absl::PrintF("  %-16s  %8s  %11s  %s\n", "plan", "of full", "full units",
               "origin");
  for (const v1::PlanInfo& info : list.plans()) {
    absl::PrintF("%c %-16s  %6.1f %%  %5d/%-5d  %s\n",
                 info.is_default() ? '*' : ' ', info.hash().substr(0, 16),
                 100 * info.kv_share(), info.num_full_units(), info.num_units(),
                 Printable(info.origin()));
  }
  if (list.default_plan() == "full") {
    absl::PrintF("* full: the default, every unit full\n");
  }
  return absl::OkStatus();
}

absl::Status RunDelete(const ListFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  v1::DeletePlanRequest request;
  request.set_plan(flags.plan);
  return session->client().DeletePlan(request).status();
}

}  // namespace

void AddPlanListCommand(CLI::App& plan, CommandRun* run) {
  CLI::App* command =
      plan.add_subcommand("list", "The plans that a running server has");
  auto flags = std::make_shared<ListFlags>();
  AddServerFlags(*command, flags->cluster);
  command->add_flag("--json", flags->json, "default_plan, plans");
  command->footer("Example:\n  headwise plan list --server 127.0.0.1:7600");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunList(*flags); }; });
}

void AddPlanDeleteCommand(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "delete", "Take a plan from a running server; requests under it go on");
  auto flags = std::make_shared<ListFlags>();
  command->add_option("plan", flags->plan, "Its hash, or 8 digits or more")
      ->required();
  AddServerFlags(*command, flags->cluster);
  command->footer(
      "Example:\n  headwise plan delete dc9ad24e --server 127.0.0.1:7600");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunDelete(*flags); }; });
}

}  // namespace headwise
