// A head plan as a picture of characters, and in words.

#ifndef HEADWISE_CLIENT_CLI_PLAN_PICTURE_H_
#define HEADWISE_CLIENT_CLI_PLAN_PICTURE_H_

#include <string>
#include <utility>
#include <vector>

#include "client/cli/grid_picture.h"
#include "model/head_plan/head_plan.h"
#include "model/head_plan/head_plan_diff.h"

namespace headwise {

// F, S, R, L, Q, O in order of PolicyKind.
char PolicyLetter(PolicyKind kind);
int PolicyColor(PolicyKind kind);  // of the 256

// What a query head is in a few words: "uniform mask, scale 0.5".
std::string DescribeHead(const QueryHeadPlan& head);

// Policies as DescribePolicy says them, with how many units have them and one
// of these; most units first.
struct PolicyCount {
  std::string description;
  UnitPolicy policy;
  int64_t num_units = 0;
};
std::vector<PolicyCount> CountPolicies(const HeadPlan& plan);

// Model, shape, hash, origin and landmark token; a map of units by policy with
// a legend; and where a query head is not as trained, a map of these. Bytes of
// the origin that could steer a terminal are escaped. Ends with a newline.
std::string RenderPlan(const HeadPlan& plan, const PictureOptions& options);

// One line for each unit and head that differs, then a sum.
std::string RenderDiff(const HeadPlan& before, const HeadPlanDiff& diff);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_PLAN_PICTURE_H_
