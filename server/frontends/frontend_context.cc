#include "server/frontends/frontend_context.h"

#include <algorithm>
#include <chrono>

namespace headwise {

absl::Time DeadlineOf(const FrontendContext& frontend, absl::Time start,
                      const grpc::CallbackServerContext& context) {
  const absl::Time wall_deadline = absl::FromChrono(context.deadline());
  const absl::Duration remaining =
      wall_deadline - absl::FromChrono(std::chrono::system_clock::now());
  return start + std::min(remaining, frontend.max_call_time);
}

}  // namespace headwise
