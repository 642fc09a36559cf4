// A head plan as command lines name it: a file, or a name at a server.

#ifndef HEADWISE_CLIENT_CLI_PLAN_CHOICE_H_
#define HEADWISE_CLIENT_CLI_PLAN_CHOICE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

struct PlanChoice {
  std::shared_ptr<const HeadPlan> plan;  // of a file; null: it is a name
  std::string name;                      // empty: none was given
};

// Of the text on the command line. A file of that path comes before a name.
// NotFound if it is neither; InvalidArgument for a bad file.
absl::StatusOr<PlanChoice> ReadPlanChoice(const std::string& text);

// What requests call it; a plan is put to the server first.
absl::StatusOr<std::string> NameAtServer(const PlanChoice& choice,
                                         Client& client);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_PLAN_CHOICE_H_
