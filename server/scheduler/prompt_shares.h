// Who gets how much of a step that more prompts want than fit.

#ifndef HEADWISE_SERVER_SCHEDULER_PROMPT_SHARES_H_
#define HEADWISE_SERVER_SCHEDULER_PROMPT_SHARES_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace headwise {

struct PromptNeed {
  absl::string_view tenant;
  int64_t rows_left = 0;
};

// Of a tenant's share, what its oldest prompt gets at least.
inline constexpr double kOldestShare = 0.25;

// Deals `room` (RowCosts) to prompts, which come in order of arrival. Tenants
// share it evenly, what one leaves goes to those whose oldest prompt came
// later. Of a tenant, the prompts with the fewest rows left come first, so that
// short ones don't wait for a long one to end; but the oldest gets its share of
// every step, so that it does end.
//
// `take(index, budget)` has a prompt take rows for at most `budget`, and says
// what they cost. It is called once for each prompt, in the order in which they
// may take; the first one may take more than it was given.
void DealRoom(absl::Span<const PromptNeed> prompts, double room,
              absl::FunctionRef<double(size_t, double)> take);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_PROMPT_SHARES_H_
