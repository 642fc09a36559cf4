// Names that every template knows, and the functions among them that need
// nothing of a rendering but its budget.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_GLOBALS_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_GLOBALS_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "model/chat_template/arguments.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

std::optional<Value> FindGlobal(absl::string_view name);
// Its name in templates.
absl::string_view GlobalName(GlobalFunction function);

// range(stop), range(start, stop), range(start, stop, step). ResourceExhausted
// above kMaxRange elements.
absl::StatusOr<Value> Range(const CallArguments& arguments, Budget& budget);

// InvalidArgument with the message of the template, unchanged but cut to
// kMaxRaisedBytes.
absl::Status RaiseException(const CallArguments& arguments, Budget& budget);

// strftime of `now` in UTC and in English, whatever the locale. Unimplemented
// for a conversion that no chat template uses.
absl::StatusOr<Value> StrftimeNow(const CallArguments& arguments,
                                  absl::Time now, Budget& budget);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_GLOBALS_H_
