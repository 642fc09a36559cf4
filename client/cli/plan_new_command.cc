#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/plan_commands.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/policy_names.h"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

struct PlanNewFlags {
  ClusterFlags cluster;  // the model alone
  std::string policy = "full";
  std::string kv_type = "default";
  UnitPolicy unit;
  int64_t landmark_token = -1;
  std::vector<std::string> except;
  std::string out;
};

absl::Status RunNew(const PlanNewFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            Model::Open(flags.cluster.model));
  UnitPolicy policy = flags.unit;
  policy.kind = *PolicyNamed(flags.policy);
  policy.kv_type = *PlanKvTypeNamed(flags.kv_type);
  // Before a large file is read for its hash.
  if (const absl::Status status = CheckUnitPolicy(policy); !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--policy ", flags.policy, ": ", status.message()));
  }
  HeadPlan plan = DefaultHeadPlan(model->hyperparameters(), "");
  plan.units.assign(plan.units.size(), policy);
  HEADWISE_RETURN_IF_ERROR(MakeFull(flags.except, &plan));
  plan.landmark_token = flags.landmark_token;
  plan.origin = absl::StrCat("headwise plan new: ", DescribePolicy(policy));
  if (!flags.except.empty()) {
    absl::StrAppend(&plan.origin, "; full: ", absl::StrJoin(flags.except, ","));
  }
  if (plan.origin.size() > kMaxPlanOriginBytes) plan.origin.clear();
  plan.model_sha256 = HashWithProgress(*model);
  HEADWISE_RETURN_IF_ERROR(
      CheckPlanFits(plan, model->hyperparameters(), plan.model_sha256));
  HEADWISE_RETURN_IF_ERROR(WriteHeadPlanFile(plan, flags.out));
  const auto num_full =
      std::count(plan.units.begin(), plan.units.end(), UnitPolicy{});
  absl::PrintF("%s: %d units, %d of them full\n", flags.out, plan.units.size(),
               num_full);
  return absl::OkStatus();
}

void AddPolicyFlags(CLI::App& command, UnitPolicy& unit) {
  const std::string group = "Policy";
  command
      .add_option("--sinks", unit.num_sinks,
                  "First positions, always visible (streaming, razor)")
      ->group(group);
  command
      .add_option("--window", unit.window,
                  "Last positions, always visible (streaming, razor)")
      ->group(group);
  command
      .add_flag("--slot-positions", unit.slot_positions,
                "Rotary distances as if nothing had been dropped (streaming), "
                "or within chunks + 1 chunks (landmark)")
      ->group(group);
  command
      .add_option("--window-divisor", unit.window_divisor,
                  "The window is at least prompt / N (razor); 0: no")
      ->group(group);
  command
      .add_option("--chunk-len", unit.chunk_len,
                  "Positions of a chunk (longheads, quest, landmark-oracle, "
                  "landmark: its token included)")
      ->group(group);
  command
      .add_option("--chunks", unit.num_chunks,
                  "Chunks that a query sees (longheads, quest, "
                  "landmark-oracle, landmark)")
      ->group(group);
  command
      .add_flag("--per-query-head", unit.per_query_head,
                "Each query head chooses its own chunks")
      ->group(group);
}

}  // namespace

absl::Status MakeFull(const std::vector<std::string>& units, HeadPlan* plan) {
  for (const std::string& text : units) {
    const std::vector<std::string> parts =
        absl::StrSplit(text, absl::MaxSplits('.', 1));
    int64_t layer = 0, kv_head = 0;
    if (!absl::SimpleAtoi(parts[0], &layer) ||
        (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &kv_head))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--except ", text, " is neither LAYER nor LAYER.KV_HEAD"));
    }
    const auto check = [&](const char* what, int64_t index, int64_t count) {
      if (index >= 0 && index < count) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat("--except ", text, ": ", what, " ", index,
                       " is outside [0, ", count - 1, "]"));
    };
    HEADWISE_RETURN_IF_ERROR(check("layer", layer, plan->num_layers));
    HEADWISE_RETURN_IF_ERROR(check("kv_head", kv_head, plan->num_kv_heads));
    const auto first =
        plan->units.begin() + layer * plan->num_kv_heads + kv_head;
    std::fill(first, first + (parts.size() == 2 ? 1 : plan->num_kv_heads),
              UnitPolicy{});
  }
  return absl::OkStatus();
}

void AddPlanNewCommand(CLI::App& plan, CommandRun* run) {
  CLI::App* command = plan.add_subcommand(
      "new", "A plan with one policy for all units but those of --except");
  auto flags = std::make_shared<PlanNewFlags>();
  AddModelFlag(*command, flags->cluster);
  command->get_option("--model")->required();
  command->add_option("--policy", flags->policy, "What all units do")
      ->check(CLI::IsMember(
          std::vector<std::string>(kPolicyNames.begin(), kPolicyNames.end())))
      ->capture_default_str();
  command
      ->add_option("--kv-type", flags->kv_type,
                   "Type of their KV; default: the server's")
      ->check(CLI::IsMember(std::vector<std::string>(kPlanKvTypeNames.begin(),
                                                     kPlanKvTypeNames.end())))
      ->capture_default_str();
  AddPolicyFlags(*command, flags->unit);
  command
      ->add_option("--landmark-token", flags->landmark_token,
                   "The token at the end of every chunk, which prompts are "
                   "checked for (landmark); -1: they are not")
      ->group("Policy");
  command
      ->add_option("--except", flags->except,
                   "Units that stay full: LAYER or LAYER.KV_HEAD,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option("-o,--out", flags->out,
                   "The file to write; text if it ends with .json")
      ->required();
  command->footer(
      "Example:\n  headwise plan new -m M --policy streaming --sinks 64 "
      "--window 256 --except 3,7.1 -o plan.json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunNew(*flags); }; });
}

}  // namespace headwise
