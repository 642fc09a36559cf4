// Why a step failed, where a coordinator must tell one reason from another.

#ifndef HEADWISE_WORKER_STEP_STEP_ERRORS_H_
#define HEADWISE_WORKER_STEP_STEP_ERRORS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace headwise {

inline constexpr absl::string_view kMemoryBlewUp =
    "a neural memory's input is not finite, or its norm is beyond "
    "titans.memory.max_norm, in layer ";

// OutOfRange: the sequence's tokens have led its memory there, and would do so
// again. Other steps are OutOfRange if a value of the model is not finite,
// which is no request's fault.
inline absl::Status MemoryBlewUp(int64_t layer) {
  return absl::OutOfRangeError(absl::StrCat(kMemoryBlewUp, layer));
}

inline bool IsMemoryBlewUp(const absl::Status& status) {
  return absl::IsOutOfRange(status) &&
         absl::StrContains(status.message(), kMemoryBlewUp);
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_STEP_ERRORS_H_
