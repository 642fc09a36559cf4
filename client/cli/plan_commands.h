// The commands under `headwise plan`, and what they share.

#ifndef HEADWISE_CLIENT_CLI_PLAN_COMMANDS_H_
#define HEADWISE_CLIENT_CLI_PLAN_COMMANDS_H_

#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/cli/commands.h"
#include "model/head_plan/head_plan.h"
#include "model/model.h"

namespace headwise {

// Each adds its command to `plan`, as in commands.h.
void AddPlanNewCommand(CLI::App& plan, CommandRun* run);
void AddPlanForecastCommand(CLI::App& plan, CommandRun* run);
void AddPlanCalibrateCommand(CLI::App& plan, CommandRun* run);
void AddPlanApplyCommand(CLI::App& plan, CommandRun* run);
void AddPlanListCommand(CLI::App& plan, CommandRun* run);
void AddPlanDeleteCommand(CLI::App& plan, CommandRun* run);

// A positional argument: an existing plan file.
void AddPlanFile(CLI::App& command, const std::string& name, std::string& path);

// The model's SHA-256; a bar on stderr while the file is read.
std::string HashWithProgress(const Model& model);

// The model at `path`, if the plan is for it.
absl::StatusOr<std::unique_ptr<Model>> OpenModelOfPlan(const HeadPlan& plan,
                                                       const std::string& path);

// Makes units of `plan` full: "4.0" is KV head 0 of layer 4, "4" all of layer
// 4. InvalidArgument names the text, and the index with its limit.
absl::Status MakeFull(const std::vector<std::string>& units, HeadPlan* plan);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_PLAN_COMMANDS_H_
