// Whether a sequence may go on under another plan than it began.

#ifndef HEADWISE_SERVER_SCHEDULER_FORK_CHECK_H_
#define HEADWISE_SERVER_SCHEDULER_FORK_CHECK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/head_plan/head_plan.h"
#include "model/head_plan/kv_type.h"

namespace headwise {

// A fork at the whole length of a prefix, all of it prompt.
struct ForkTerms {
  const HeadPlan* from = nullptr;  // null: the default plan
  const HeadPlan* to = nullptr;
  int64_t shared_len = 0;  // positions of the prefix
  int64_t prompt_len = 0;  // of the fork, the prefix included
  KvType kv_type = KvType::kFp16;
};

// InvalidArgument names the unit whose keys are stored otherwise under the new
// plan, or whose dropped positions it would need: what KvBook::Fork refuses,
// told before a worker hears of it, as ranks hold different units and must not
// disagree.
absl::Status CheckFork(const ForkTerms& terms);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_FORK_CHECK_H_
