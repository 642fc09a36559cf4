#include "client/cli/plan_choice.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/head_plan_codec.h"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

// As plans.proto has it.
bool IsName(const std::string& text) {
  if (text.empty() || text == "full") return true;
  return text.size() >= 8 && text.size() <= 64 &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

absl::StatusOr<PlanChoice> ReadPlanChoice(const std::string& text) {
  PlanChoice choice;
  std::error_code error;
  if (!text.empty() && std::filesystem::is_regular_file(text, error)) {
    HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, ReadHeadPlanFile(text));
    choice.plan = std::make_shared<const HeadPlan>(std::move(plan));
    return choice;
  }
  if (!IsName(text)) {
    return absl::NotFoundError(
        absl::StrCat("plan: ", text,
                     " is neither a file nor 8 to 64 hexadecimal digits of a "
                     "plan's hash, lower case, nor \"full\""));
  }
  choice.name = text;
  return choice;
}

absl::StatusOr<std::string> NameAtServer(const PlanChoice& choice,
                                         Client& client) {
  if (choice.plan == nullptr) return choice.name;
  v1::PutPlanRequest request;
  WriteHeadPlan(*choice.plan, request.mutable_plan());
  HEADWISE_ASSIGN_OR_RETURN(const v1::PlanInfo info, client.PutPlan(request));
  return info.hash();
}

}  // namespace headwise
