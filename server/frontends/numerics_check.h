// Whether something that began under one build may go on under this one.

#ifndef HEADWISE_SERVER_FRONTENDS_NUMERICS_CHECK_H_
#define HEADWISE_SERVER_FRONTENDS_NUMERICS_CHECK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace headwise {

// FailedPrecondition, with both, if `what` is of other numerics than this
// build: its end would have other bits than its beginning.
absl::Status CheckNumerics(absl::string_view what, uint32_t numerics);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_NUMERICS_CHECK_H_
