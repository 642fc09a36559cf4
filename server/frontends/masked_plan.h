// The plan of a selection: the model as it is but for some heads that are
// masked.

#ifndef HEADWISE_SERVER_FRONTENDS_MASKED_PLAN_H_
#define HEADWISE_SERVER_FRONTENDS_MASKED_PLAN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "headwise/v1/selection.pb.h"
#include "model/head_plan/head_plan.h"
#include "model/hyperparameters.h"
#include "server/frontends/frontend_context.h"

namespace headwise {

// What such a plan says, in few words.
struct MaskedHeads {
  std::vector<std::string> heads;  // "layer.head", by layer, then head
  std::string mask;                // kHeadMaskNames
};

// InvalidArgument, without a field, if `plan` does more than mask heads, or in
// two ways, or masks none.
absl::StatusOr<MaskedHeads> MaskedHeadsOf(const HeadPlan& plan);

// The plan that MaskedHeadsOf tells of. InvalidArgument: a head that the model
// does not have, or a mask that plans do not know.
absl::StatusOr<HeadPlan> PlanOfMaskedHeads(const MaskedHeads& masked,
                                           const Hyperparameters& hyper,
                                           const std::string& model_sha256);

// Of a request. InvalidArgument names `field` with what MaskedHeadsOf or
// ReadHeadPlan or CheckPlanFits says, or how to make a plan if there is none;
// NotFound as of PlanStore.
absl::StatusOr<std::shared_ptr<const HeadPlan>> ReadMaskedPlan(
    absl::string_view field, const v1::MaskedPlan& message,
    const FrontendContext& frontend, const std::string& model_sha256);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_MASKED_PLAN_H_
