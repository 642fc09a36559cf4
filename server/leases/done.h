// How calls to workers answer.

#ifndef HEADWISE_SERVER_LEASES_DONE_H_
#define HEADWISE_SERVER_LEASES_DONE_H_

#include <functional>

#include "absl/status/statusor.h"

namespace headwise {

template <typename T>
using Done = std::function<void(absl::StatusOr<T>)>;

// What a call answers that has nothing to say.
struct Nothing {};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_DONE_H_
