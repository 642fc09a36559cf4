// Numbers from text, as Python's int() and float() read them.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_NUMBER_TEXT_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_NUMBER_TEXT_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise::jinja {

// nullopt for what is no decimal integer; Unimplemented beyond 64 bits.
absl::StatusOr<std::optional<int64_t>> ParseInteger(absl::string_view text);

// nullopt for what is no number.
std::optional<double> ParseFloat(absl::string_view text);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_NUMBER_TEXT_H_
