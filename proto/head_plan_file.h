// Head plans as files, in either form.

#ifndef HEADWISE_PROTO_HEAD_PLAN_FILE_H_
#define HEADWISE_PROTO_HEAD_PLAN_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// The text form if the first byte that is no space is '{', else the binary
// form. Errors are those of ParseHeadPlanText and DecodeHeadPlan.
absl::StatusOr<HeadPlan> ParseHeadPlan(absl::string_view bytes);

// NotFound if the file can't be read; InvalidArgument, with the path in front,
// as ParseHeadPlan.
absl::StatusOr<HeadPlan> ReadHeadPlanFile(const std::string& path);

// The text form if `path` ends with ".json". The file appears whole or not at
// all. Unavailable names the path and what the system said; InvalidArgument if
// the text, which may say something of each of many heads, would have more than
// kMaxHeadPlanBytes.
absl::Status WriteHeadPlanFile(const HeadPlan& plan, const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_PROTO_HEAD_PLAN_FILE_H_
