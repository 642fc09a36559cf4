// Operators on values, with Python's meaning.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_ARITHMETIC_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_ARITHMETIC_H_

#include "absl/status/statusor.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/syntax_tree.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

// One of kAdd .. kPower; strings and lists included. InvalidArgument for types
// that don't go together and for division by zero, Unimplemented for a result
// that Python gives and we can't hold (an integer beyond 64 bits, a complex
// number).
absl::StatusOr<Value> Arithmetic(Operator op, const Value& a, const Value& b,
                                 Budget& budget);

// One of kEqual .. kNotIn.
absl::StatusOr<bool> Compare(Operator op, const Value& a, const Value& b,
                             Budget& budget);

absl::StatusOr<Value> Negate(const Value& value);
// Unary +.
absl::StatusOr<Value> Affirm(const Value& value);

// Text with & < > " ' replaced by their HTML references.
std::string EscapeHtml(absl::string_view text);

// Python's `format % values` for a string format.
absl::StatusOr<Value> PercentFormat(const Value& format,
                                    const std::vector<Value>& values,
                                    Budget& budget);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_ARITHMETIC_H_
