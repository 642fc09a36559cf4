#include "model/chat_template/value_text.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

// Exponents for which repr() writes a float without one: Python's float_repr
// with format code 'r'.
constexpr int kMinPlainExponent = -4;
constexpr int kMaxPlainExponent = 15;

std::string PlainDigits(absl::string_view digits, int exponent) {
  const int num_digits = static_cast<int>(digits.size());
  if (exponent < 0) {
    return absl::StrCat("0.", std::string(-exponent - 1, '0'), digits);
  }
  if (num_digits <= exponent + 1) {
    return absl::StrCat(digits, std::string(exponent + 1 - num_digits, '0'),
                        ".0");
  }
  return absl::StrCat(digits.substr(0, exponent + 1), ".",
                      digits.substr(exponent + 1));
}

void AppendEscaped(int32_t code_point, absl::string_view bytes, char quote,
                   BoundedText* out) {
  if (code_point == quote || code_point == '\\') {
    out->Append("\\");
    out->Append(bytes);
  } else if (code_point == '\n') {
    out->Append("\\n");
  } else if (code_point == '\r') {
    out->Append("\\r");
  } else if (code_point == '\t') {
    out->Append("\\t");
  } else if (code_point >= 0 && IsPrintable(code_point)) {
    out->Append(bytes);
  } else if (code_point < 0) {  // a byte that is no UTF-8
    out->Append(absl::StrFormat("\\x%02x", static_cast<uint8_t>(bytes[0])));
  } else if (code_point <= 0xff) {
    out->Append(absl::StrFormat("\\x%02x", code_point));
  } else if (code_point <= 0xffff) {
    out->Append(absl::StrFormat("\\u%04x", code_point));
  } else {
    out->Append(absl::StrFormat("\\U%08x", code_point));
  }
}

void AppendStringRepr(absl::string_view text, BoundedText* out) {
  // Python prefers single quotes, unless that needs escapes and " doesn't.
  const bool has_single = text.find('\'') != absl::string_view::npos;
  const bool has_double = text.find('"') != absl::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out->Append(absl::string_view(&quote, 1));
  for (size_t i = 0; i < text.size() && !out->full();) {
    const Decoded decoded = DecodeAt(text, i);
    AppendEscaped(decoded.code_point, text.substr(i, decoded.num_bytes), quote,
                  out);
    i += decoded.num_bytes;
  }
  out->Append(absl::string_view(&quote, 1));
}

absl::Status AppendItems(const std::vector<Value>& items, BoundedText* out) {
  for (size_t i = 0; i < items.size() && !out->full(); ++i) {
    if (i > 0) out->Append(", ");
    HEADWISE_RETURN_IF_ERROR(AppendRepr(items[i], out));
  }
  return absl::OkStatus();
}

absl::Status AppendSequenceRepr(const Value& value, BoundedText* out) {
  const Sequence& sequence = value.sequence();
  switch (sequence.type) {
    case SequenceType::kList:
      out->Append("[");
      HEADWISE_RETURN_IF_ERROR(AppendItems(sequence.items, out));
      out->Append("]");
      return absl::OkStatus();
    case SequenceType::kTuple:
      out->Append("(");
      HEADWISE_RETURN_IF_ERROR(AppendItems(sequence.items, out));
      out->Append(sequence.items.size() == 1 ? ",)" : ")");
      return absl::OkStatus();
    default:
      return absl::UnimplementedError(
          absl::StrCat("printing a ", TypeName(value)));
  }
}

absl::Status AppendDictRepr(const Dict& dict, BoundedText* out) {
  out->Append("{");
  bool is_first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (out->full()) break;
    if (!is_first) out->Append(", ");
    is_first = false;
    HEADWISE_RETURN_IF_ERROR(AppendRepr(key, out));
    out->Append(": ");
    HEADWISE_RETURN_IF_ERROR(AppendRepr(value, out));
  }
  out->Append("}");
  return absl::OkStatus();
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // 17 digits, sign, point and exponent fit.
  char buffer[40];
  const std::to_chars_result result = std::to_chars(
      buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  HEADWISE_CHECK(result.ec == std::errc());
  absl::string_view text(buffer, result.ptr - buffer);
  const bool is_negative = text.front() == '-';
  if (is_negative) text.remove_prefix(1);

  const size_t e = text.find('e');
  int exponent = 0;
  const char* begin = text.data() + e + 1;
  if (*begin == '+') ++begin;
  std::from_chars(begin, text.data() + text.size(), exponent);
  std::string digits(text.substr(0, 1));
  if (e > 2) absl::StrAppend(&digits, text.substr(2, e - 2));

  const char* sign = is_negative ? "-" : "";
  if (exponent >= kMinPlainExponent && exponent <= kMaxPlainExponent) {
    return absl::StrCat(sign, PlainDigits(digits, exponent));
  }
  return absl::StrFormat("%s%se%+03d", sign, text.substr(0, e), exponent);
}

absl::Status AppendStr(const Value& value, BoundedText* out) {
  if (value.Is(Value::Kind::kString)) {
    out->Append(value.string());
    return absl::OkStatus();
  }
  if (value.Is(Value::Kind::kUndefined)) return absl::OkStatus();
  return AppendRepr(value, out);
}

absl::StatusOr<std::string> Str(const Value& value, Budget& budget) {
  BoundedText out;
  HEADWISE_RETURN_IF_ERROR(AppendStr(value, &out));
  HEADWISE_RETURN_IF_ERROR(out.Check());
  HEADWISE_RETURN_IF_ERROR(
      budget.SpendBytes(static_cast<int64_t>(out.text().size())));
  return out.Take();
}

absl::Status AppendRepr(const Value& value, BoundedText* out) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      out->Append("Undefined");
      return absl::OkStatus();
    case Value::Kind::kNone:
      out->Append("None");
      return absl::OkStatus();
    case Value::Kind::kBool:
      out->Append(value.boolean() ? "True" : "False");
      return absl::OkStatus();
    case Value::Kind::kInt:
      out->Append(absl::StrCat(value.integer()));
      return absl::OkStatus();
    case Value::Kind::kFloat:
      out->Append(FloatText(value.number()));
      return absl::OkStatus();
    case Value::Kind::kString:
      if (value.text().safe) out->Append("Markup(");
      AppendStringRepr(value.string(), out);
      if (value.text().safe) out->Append(")");
      return absl::OkStatus();
    case Value::Kind::kSequence:
      return AppendSequenceRepr(value, out);
    case Value::Kind::kDict:
      return AppendDictRepr(value.dict(), out);
    default:
      return absl::UnimplementedError(
          absl::StrCat("printing a ", TypeName(value)));
  }
}

}  // namespace headwise::jinja
