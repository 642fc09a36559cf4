// Filters on single values: default, numbers, JSON.

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/arithmetic.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/number_text.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

absl::StatusOr<Value> Default(const FilterCall& call) {
  const bool replaces_false = call.arguments.IsTrueOr(1, false);
  if (!call.input.Is(Kind::kUndefined) &&
      !(replaces_false && !IsTrue(call.input))) {
    return call.input;
  }
  const Value* otherwise = call.arguments.Find(0);
  return otherwise == nullptr ? Value::String("") : *otherwise;
}

absl::StatusOr<Value> Truncated(double number) {
  if (std::fabs(number) < 0x1p63) {
    return Value::Int(static_cast<int64_t>(number));
  }
  if (!std::isfinite(number)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot convert ", FloatText(number), " to an integer"));
  }
  return absl::UnimplementedError(
      absl::StrCat("integer ", FloatText(number), " beyond 64 bits"));
}

absl::StatusOr<Value> Int(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t base,
                            call.arguments.IntegerOr(1, 10));
  if (base != 10) {
    return absl::UnimplementedError(absl::StrCat("int with base ", base));
  }
  const Value& input = call.input;
  if (input.Is(Kind::kUndefined)) return UndefinedError(input);
  if (input.IsInteger()) return Value::Int(input.integer());
  const Value* otherwise = call.arguments.Find(0);
  const Value fallback = otherwise == nullptr ? Value::Int(0) : *otherwise;
  if (input.Is(Kind::kFloat)) {
    if (std::isnan(input.number())) return fallback;
    return Truncated(input.number());
  }
  if (!input.Is(Kind::kString)) return fallback;
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> integer,
                            ParseInteger(input.string()));
  if (integer.has_value()) return Value::Int(*integer);
  const std::optional<double> number = ParseFloat(input.string());
  if (!number.has_value() || !std::isfinite(*number)) return fallback;
  return Truncated(*number);
}

absl::StatusOr<Value> Float(const FilterCall& call) {
  const Value& input = call.input;
  if (input.Is(Kind::kUndefined)) return UndefinedError(input);
  if (input.IsNumber()) return Value::Float(input.number());
  if (input.Is(Kind::kString)) {
    const std::optional<double> number = ParseFloat(input.string());
    if (number.has_value()) return Value::Float(*number);
  }
  const Value* otherwise = call.arguments.Find(0);
  return otherwise == nullptr ? Value::Float(0.0) : *otherwise;
}

absl::Status NotANumber(const Value& value) {
  if (value.Is(Kind::kUndefined)) return UndefinedError(value);
  return absl::InvalidArgumentError(
      absl::StrCat("a number is needed, not ", TypeName(value)));
}

absl::StatusOr<Value> Abs(const FilterCall& call) {
  const Value& input = call.input;
  if (!input.IsNumber()) return NotANumber(input);
  if (input.Is(Kind::kFloat)) return Value::Float(std::fabs(input.number()));
  return input.integer() < 0 ? Negate(input) : Affirm(input);
}

// Python's round(number, digits): half to even of the exact binary value, which
// is what printing that many digits does.
double RoundTo(double number, int digits) {
  if (!std::isfinite(number)) return number;
  char buffer[400];  // 309 digits, the point, and kMaxRoundDigits
  const std::to_chars_result printed =
      std::to_chars(buffer, buffer + sizeof(buffer), number,
                    std::chars_format::fixed, digits);
  HEADWISE_CHECK(printed.ec == std::errc());
  double rounded = 0;
  std::from_chars(buffer, printed.ptr, rounded);
  return rounded;
}

absl::StatusOr<Value> Round(const FilterCall& call) {
  constexpr int64_t kMaxRoundDigits = 22;  // 10^22 is exact in double
  HEADWISE_ASSIGN_OR_RETURN(const int64_t digits,
                            call.arguments.IntegerOr(0, 0));
  HEADWISE_ASSIGN_OR_RETURN(const std::string* method,
                            call.arguments.FindString(1));
  const Value& input = call.input;
  if (!input.IsNumber()) return NotANumber(input);
  if (digits < 0 || digits > kMaxRoundDigits) {
    return absl::UnimplementedError(
        absl::StrCat("round to ", digits, " digits; 0 to ", kMaxRoundDigits));
  }
  if (method == nullptr || *method == "common") {
    if (input.IsInteger()) return Value::Int(input.integer());
    return Value::Float(RoundTo(input.number(), static_cast<int>(digits)));
  }
  if (*method != "ceil" && *method != "floor") {
    return absl::InvalidArgumentError(absl::StrCat(
        "round: method must be common, ceil or floor, not '", *method, "'"));
  }
  double scale = 1;
  for (int64_t i = 0; i < digits; ++i) scale *= 10;
  const double scaled = input.number() * scale;
  return Value::Float(
      (*method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

absl::StatusOr<Value> ToJson(const FilterCall& call) {
  JsonStyle style;
  style.ascii_only = call.arguments.IsTrueOr(0, false);
  if (const Value* indent = call.arguments.FindGiven(1)) {
    if (indent->Is(Kind::kString)) {
      style.indent = indent->string();
    } else {
      HEADWISE_ASSIGN_OR_RETURN(const int64_t width,
                                call.arguments.IntegerOr(1, 0));
      BoundedText spaces;
      spaces.AppendRepeated(" ", width);
      HEADWISE_RETURN_IF_ERROR(spaces.Check());
      style.indent = spaces.Take();
    }
  }
  if (const Value* separators = call.arguments.FindGiven(2)) {
    HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> pair,
                              Elements(*separators, call.budget));
    if (pair.size() != 2 || !pair[0].Is(Kind::kString) ||
        !pair[1].Is(Kind::kString)) {
      return absl::InvalidArgumentError(
          "tojson: separators must be two strings");
    }
    style.item_separator = pair[0].string();
    style.key_separator = pair[1].string();
  }
  style.sort_keys = call.arguments.IsTrueOr(3, false);
  BoundedText json;
  HEADWISE_RETURN_IF_ERROR(AppendJson(call.input, style, call.budget, &json));
  return MakeString(std::move(json), call.budget);
}

// tojson is not Jinja's but the one that transformers sets for chat templates:
// no HTML escapes, and its own parameters in their order.
constexpr Filter kFilters[] = {
    {{.name = "default", .parameters = {"default_value", "boolean"}}, Default},
    {{.name = "d", .parameters = {"default_value", "boolean"}}, Default},
    {{.name = "int", .parameters = {"default", "base"}}, Int},
    {{.name = "float", .parameters = {"default"}}, Float},
    {{.name = "abs"}, Abs},
    {{.name = "round", .parameters = {"precision", "method"}}, Round},
    {{.name = "tojson",
      .parameters = {"ensure_ascii", "indent", "separators", "sort_keys"}},
     ToJson},
};

}  // namespace

const Filter* FindValueFilter(absl::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.signature.name == name) return &filter;
  }
  return nullptr;
}

}  // namespace headwise::jinja
