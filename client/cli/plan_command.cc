#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/plan_commands.h"
#include "client/cli/plan_picture.h"
#include "client/cli/progress_bar.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/head_plan_text.h"
#include "model/head_plan/policy_names.h"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

struct PlanFlags {
  std::string plan;
  std::string other;     // the second plan, the file to write
  ClusterFlags cluster;  // the model alone
  bool json = false;
};

Json PlanToJson(const HeadPlan& plan) {
  Json policies = Json::array();
  for (const PolicyCount& count : CountPolicies(plan)) {
    policies.push_back({{"policy", NameOf(count.policy.kind)},
                        {"description", count.description},
                        {"num_units", count.num_units}});
  }
  return {{"hash", HeadPlanHash(plan)},
          {"policies", policies},
          {"plan", Json::parse(HeadPlanToText(plan))}};
}

absl::Status RunShow(const PlanFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, ReadHeadPlanFile(flags.plan));
  if (flags.json) {
    PrintJsonLine(PlanToJson(plan));
  } else {
    std::fputs(RenderPlan(plan, StdoutPicture()).c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status RunCheck(const PlanFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, ReadHeadPlanFile(flags.plan));
  const bool has_model = !flags.cluster.model.empty();
  if (has_model) {
    HEADWISE_RETURN_IF_ERROR(
        OpenModelOfPlan(plan, flags.cluster.model).status());
  }
  if (flags.json) {
    PrintJsonLine({{"valid", true},
                   {"fits_model", has_model ? Json(true) : Json()},
                   {"hash", HeadPlanHash(plan)}});
  } else {
    absl::PrintF("%s: a valid plan%s; hash %s\n", flags.plan,
                 has_model ? ", and it fits " + flags.cluster.model : "",
                 HeadPlanHash(plan));
  }
  return absl::OkStatus();
}

Json DiffToJson(const HeadPlanDiff& diff) {
  Json json = {{"is_other_model", diff.is_other_model},
               {"landmark_token", diff.landmark_token},
               {"units", Json::array()},
               {"heads", Json::array()}};
  for (const UnitChange& change : diff.units) {
    json["units"].push_back({{"layer", change.layer},
                             {"kv_head", change.kv_head},
                             {"before", DescribePolicy(change.before)},
                             {"after", DescribePolicy(change.after)}});
  }
  for (const QueryHeadChange& change : diff.heads) {
    json["heads"].push_back({{"layer", change.layer},
                             {"head", change.head},
                             {"before", DescribeHead(change.before)},
                             {"after", DescribeHead(change.after)}});
  }
  return json;
}

absl::Status RunDiff(const PlanFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan before,
                            ReadHeadPlanFile(flags.plan));
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan after,
                            ReadHeadPlanFile(flags.other));
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlanDiff diff,
                            DiffHeadPlans(before, after));
  if (flags.json) {
    PrintJsonLine(DiffToJson(diff));
  } else {
    std::fputs(RenderDiff(before, diff).c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status RunConvert(const PlanFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const HeadPlan plan, ReadHeadPlanFile(flags.plan));
  return WriteHeadPlanFile(plan, flags.other);
}

using Run = absl::Status (*)(const PlanFlags&);

void RunWith(CLI::App* command, Run what, std::shared_ptr<PlanFlags> flags,
             CommandRun* run) {
  command->final_callback(
      [run, what, flags] { *run = [what, flags] { return what(*flags); }; });
}

void AddShow(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "show", "What a plan says: a map of units by policy, and counts");
  auto flags = std::make_shared<PlanFlags>();
  AddPlanFile(*command, "plan", flags->plan);
  command->add_flag("--json", flags->json, "hash, policies, plan");
  command->footer(
      "Example:\n  headwise plan show plan.json\n"
      "NO_COLOR in the environment switches colours off.");
  RunWith(command, RunShow, flags, run);
}

void AddCheck(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "check", "Whether a plan is valid, and with --model whether it fits");
  auto flags = std::make_shared<PlanFlags>();
  AddPlanFile(*command, "plan", flags->plan);
  AddModelFlag(*command, flags->cluster);
  command->add_flag("--json", flags->json, "valid, fits_model, hash");
  command->footer("Example:\n  headwise plan check plan.json --model M");
  RunWith(command, RunCheck, flags, run);
}

void AddDiff(CLI::App& plan, CommandRun* run) {
  CLI::App* command =
      plan.add_subcommand("diff", "Which units and heads of two plans differ");
  auto flags = std::make_shared<PlanFlags>();
  AddPlanFile(*command, "before", flags->plan);
  AddPlanFile(*command, "after", flags->other);
  command->add_flag("--json", flags->json, "is_other_model, units, heads");
  command->footer("Example:\n  headwise plan diff old.plan new.json");
  RunWith(command, RunDiff, flags, run);
}

void AddConvert(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "convert", "Write a plan in the other form: text if OUT ends with .json");
  auto flags = std::make_shared<PlanFlags>();
  AddPlanFile(*command, "in", flags->plan);
  command->add_option("out", flags->other, "The file to write")->required();
  command->footer("Example:\n  headwise plan convert duo.plan duo.json");
  RunWith(command, RunConvert, flags, run);
}

}  // namespace

void AddPlanFile(CLI::App& command, const std::string& name,
                 std::string& path) {
  command.add_option(name, path, "A head plan, JSON or binary")
      ->required()
      ->check(CLI::ExistingFile);
}

std::string HashWithProgress(const Model& model) {
  ProgressBar bar("hashing");
  model.ReadSha256([&](double fraction) {
    bar.Show(fraction);
    return true;
  });
  return model.Sha256();
}

absl::StatusOr<std::unique_ptr<Model>> OpenModelOfPlan(
    const HeadPlan& plan, const std::string& path) {
  HEADWISE_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Open(path));
  HEADWISE_RETURN_IF_ERROR(
      CheckPlanFits(plan, model->hyperparameters(), HashWithProgress(*model)));
  return model;
}

void AddPlanCommand(CLI::App& app, CommandRun* run) {
  CLI::App* plan = app.add_subcommand(
      "plan", "What every head keeps and sees: make, read and compare plans");
  plan->require_subcommand(1);
  AddPlanNewCommand(*plan, run);
  AddPlanCalibrateCommand(*plan, run);
  AddShow(*plan, run);
  AddCheck(*plan, run);
  AddPlanForecastCommand(*plan, run);
  AddDiff(*plan, run);
  AddConvert(*plan, run);
  AddPlanApplyCommand(*plan, run);
  AddPlanListCommand(*plan, run);
  AddPlanDeleteCommand(*plan, run);
  plan->footer(
      "Examples:\n"
      "  headwise plan new -m M --policy streaming --sinks 64 --window 256 "
      "--except 3,7.1 -o plan.json\n"
      "  headwise plan show plan.json\n"
      "  headwise plan forecast plan.json -m M --context-len 65536\n"
      "docs/head-plans.md describes the file.");
}

}  // namespace headwise
