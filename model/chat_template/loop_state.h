// The `loop` variable of a for loop.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_LOOP_STATE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_LOOP_STATE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/arguments.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

// Owned by its rendering, so that a template may keep `loop` past its end.
struct LoopState {
  std::vector<Value> items;  // that pass the loop's own `if`
  size_t index = 0;          // of the current one, from 0
  // Once the loop has ended its items are gone, and reading it is an error.
  bool is_finished = false;
};

// loop.name, or nullopt if it has none of that name.
absl::StatusOr<std::optional<Value>> LoopAttribute(LoopState& loop,
                                                   absl::string_view name);

// loop.cycle(a, b, ...): the arguments by turns.
absl::StatusOr<Value> LoopCycle(const LoopState& loop,
                                const CallArguments& arguments);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_LOOP_STATE_H_
