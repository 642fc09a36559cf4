#include "model/chat_template/loop_state.h"

#include "absl/strings/str_cat.h"

namespace headwise::jinja {

absl::StatusOr<std::optional<Value>> LoopAttribute(LoopState& loop,
                                                   absl::string_view name) {
  if (loop.is_finished) {
    return absl::UnimplementedError("'loop' after the end of its loop");
  }
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items.size());
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "revindex") return Value::Int(length - index);
  if (name == "revindex0") return Value::Int(length - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 == length);
  if (name == "length") return Value::Int(length);
  // Only recursive loops, which we do not have, are deeper.
  if (name == "depth") return Value::Int(1);
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem") {
    if (index == 0) return Value::Undefined("there is no previous item");
    return loop.items[loop.index - 1];
  }
  if (name == "nextitem") {
    if (index + 1 >= length) return Value::Undefined("there is no next item");
    return loop.items[loop.index + 1];
  }
  if (name == "cycle") return Value::Method(Value::Of(&loop), name);
  if (name == "changed") return absl::UnimplementedError("loop.changed");
  return std::nullopt;
}

absl::StatusOr<Value> LoopCycle(const LoopState& loop,
                                const CallArguments& arguments) {
  if (!arguments.named.empty() || arguments.positional.empty()) {
    return absl::InvalidArgumentError("loop.cycle needs items to cycle over");
  }
  return arguments.positional[loop.index % arguments.positional.size()];
}

}  // namespace headwise::jinja
