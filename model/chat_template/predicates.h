// What Jinja calls tests: value is name(arguments).

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_PREDICATES_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_PREDICATES_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/arguments.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

bool IsPredicate(absl::string_view name);

// Unimplemented if there is no such test.
absl::StatusOr<bool> ApplyPredicate(absl::string_view name, const Value& input,
                                    const CallArguments& arguments,
                                    Budget& budget);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_PREDICATES_H_
