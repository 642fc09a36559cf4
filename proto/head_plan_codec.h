// Head plans as messages and as binary files.

#ifndef HEADWISE_PROTO_HEAD_PLAN_CODEC_H_
#define HEADWISE_PROTO_HEAD_PLAN_CODEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "headwise/v1/head_plan.pb.h"
#include "model/head_plan/head_plan.h"
#include "model/head_plan/head_plan_check.h"

namespace headwise {

// Requires a plan that CheckHeadPlan accepts.
void WriteHeadPlan(const HeadPlan& plan, v1::HeadPlan* message);

// A plan that CheckHeadPlan accepts, or InvalidArgument that names the field: a
// version, an enum value or a field that we do not know, and all that
// CheckHeadPlan refuses.
absl::StatusOr<HeadPlan> ReadHeadPlan(const v1::HeadPlan& message);

// The same of one unit: what CheckUnitPolicy accepts.
void WriteUnitPolicy(const UnitPolicy& unit, v1::UnitPolicy* message);
absl::StatusOr<UnitPolicy> ReadUnitPolicy(const v1::UnitPolicy& message);

// The same as bytes; equal plans give equal bytes. A file of more than
// kMaxHeadPlanBytes is refused; as messages it takes up to 60 times its bytes.
std::string EncodeHeadPlan(const HeadPlan& plan);
absl::StatusOr<HeadPlan> DecodeHeadPlan(absl::string_view bytes);

}  // namespace headwise

#endif  // HEADWISE_PROTO_HEAD_PLAN_CODEC_H_
