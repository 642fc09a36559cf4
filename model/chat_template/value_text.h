// Values as text: Python's str() and repr(), and JSON both ways.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_TEXT_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"
#include "nlohmann/json_fwd.hpp"

namespace headwise::jinja {

// repr() of a float: the shortest text that reads back as the same value.
std::string FloatText(double value);

// str(value), at the end of `out`. Unimplemented for what has an address or
// nothing useful in its text (functions, namespaces, generators); what doesn't
// fit makes `out` full, which its owner checks.
absl::Status AppendStr(const Value& value, BoundedText* out);
absl::StatusOr<std::string> Str(const Value& value, Budget& budget);

// repr(value).
absl::Status AppendRepr(const Value& value, BoundedText* out);

// Options of Python's json.dumps. An empty separator stands for its default.
struct JsonStyle {
  std::optional<std::string> indent;  // one level; nullopt: one line
  std::optional<std::string> item_separator;
  std::optional<std::string> key_separator;
  bool ascii_only = false;
  bool sort_keys = false;
};
// InvalidArgument for what JSON has no form for. Charges the sorting of keys;
// the text is for the caller to charge.
absl::Status AppendJson(const Value& value, const JsonStyle& style,
                        Budget& budget, BoundedText* out);

// ResourceExhausted for JSON deeper than kMaxValueDepth, Unimplemented for an
// integer beyond 64 bits, InvalidArgument for text that is not UTF-8.
absl::StatusOr<Value> ValueFromJson(const nlohmann::ordered_json& json,
                                    Budget& budget);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_TEXT_H_
