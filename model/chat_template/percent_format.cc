// printf-style formatting: Python's `format % values`.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/arithmetic.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

// Digits after the point and columns that a conversion may ask for.
constexpr int64_t kMaxFormatDigits = 1000;

struct Conversion {
  bool left = false;
  bool zero = false;
  bool plus = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
  char type = 0;
};

absl::StatusOr<int64_t> ReadDigits(absl::string_view* rest) {
  int64_t number = 0;
  while (!rest->empty() && absl::ascii_isdigit(rest->front())) {
    number = number * 10 + (rest->front() - '0');
    rest->remove_prefix(1);
    if (number > kMaxFormatDigits) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "a width or precision above ", kMaxFormatDigits, " in a format"));
    }
  }
  return number;
}

// Reads what follows a '%', and steps `*rest` behind it.
absl::StatusOr<Conversion> ReadConversion(absl::string_view* rest) {
  Conversion conversion;
  for (; !rest->empty(); rest->remove_prefix(1)) {
    const char c = rest->front();
    if (c == '-') {
      conversion.left = true;
    } else if (c == '0') {
      conversion.zero = true;
    } else if (c == '+') {
      conversion.plus = true;
    } else {
      break;
    }
  }
  HEADWISE_ASSIGN_OR_RETURN(conversion.width, ReadDigits(rest));
  if (!rest->empty() && rest->front() == '.') {
    rest->remove_prefix(1);
    HEADWISE_ASSIGN_OR_RETURN(conversion.precision, ReadDigits(rest));
  }
  if (rest->empty()) {
    return absl::InvalidArgumentError("incomplete format");
  }
  conversion.type = rest->front();
  rest->remove_prefix(1);
  return conversion;
}

absl::StatusOr<std::string> FixedText(const Value& value, int precision) {
  if (!value.IsNumber()) {
    return absl::InvalidArgumentError(
        absl::StrCat("%f needs a number, not ", TypeName(value)));
  }
  const double number = value.number();
  if (!std::isfinite(number)) return FloatText(number);
  // 309 digits before the point of the largest double.
  std::string text(static_cast<size_t>(precision) + 320, '\0');
  const std::to_chars_result result =
      std::to_chars(text.data(), text.data() + text.size(), number,
                    std::chars_format::fixed, precision);
  text.resize(static_cast<size_t>(result.ptr - text.data()));
  return text;
}

absl::StatusOr<std::string> IntegerText(const Value& value, char type) {
  const bool takes_float = type != 'x';
  if (takes_float && value.Is(Value::Kind::kFloat) &&
      std::fabs(value.number()) < 0x1p63) {
    return absl::StrCat(static_cast<int64_t>(value.number()));
  }
  if (!value.IsInteger()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "%", std::string(1, type), " needs an integer, not ", TypeName(value)));
  }
  if (takes_float) return absl::StrCat(value.integer());
  const bool is_negative = value.integer() < 0;
  const auto bits = static_cast<uint64_t>(value.integer());
  const uint64_t size = is_negative ? uint64_t{0} - bits : bits;
  return absl::StrCat(is_negative ? "-" : "", absl::Hex(size));
}

absl::StatusOr<std::string> Convert(const Conversion& conversion,
                                    const Value& value, Budget& budget) {
  constexpr int kDefaultPrecision = 6;
  switch (conversion.type) {
    case 's':
    case 'r': {
      BoundedText text;
      HEADWISE_RETURN_IF_ERROR(conversion.type == 's'
                                   ? AppendStr(value, &text)
                                   : AppendRepr(value, &text));
      HEADWISE_RETURN_IF_ERROR(text.Check());
      HEADWISE_RETURN_IF_ERROR(
          budget.SpendBytes(static_cast<int64_t>(text.text().size())));
      if (!conversion.precision.has_value()) return text.Take();
      HEADWISE_RETURN_IF_ERROR(
          budget.Spend(static_cast<int64_t>(text.text().size())));
      const std::vector<size_t> offsets = CodePointOffsets(text.text());
      const size_t num_kept = std::min(
          offsets.size() - 1, static_cast<size_t>(*conversion.precision));
      return text.text().substr(0, offsets[num_kept]);
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
      if (conversion.precision.has_value()) break;
      return IntegerText(value, conversion.type);
    case 'f':
    case 'F':
      return FixedText(
          value,
          static_cast<int>(conversion.precision.value_or(kDefaultPrecision)));
    default:
      break;
  }
  return absl::UnimplementedError(absl::StrCat(
      "format conversion '%", conversion.precision.has_value() ? "." : "",
      std::string(1, conversion.type), "'"));
}

void AppendPadded(const Conversion& conversion, std::string text,
                  BoundedText* out) {
  const bool is_number = conversion.type != 's' && conversion.type != 'r';
  if (is_number && conversion.plus && text[0] != '-') {
    text = absl::StrCat("+", text);
  }
  const int64_t padding = conversion.width - CountCodePoints(text);
  if (is_number && conversion.zero && !conversion.left) {
    const size_t num_sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
    out->Append(text.substr(0, num_sign));
    out->AppendRepeated("0", padding);
    out->Append(text.substr(num_sign));
    return;
  }
  if (!conversion.left) out->AppendRepeated(" ", padding);
  out->Append(text);
  if (conversion.left) out->AppendRepeated(" ", padding);
}

}  // namespace

absl::StatusOr<Value> PercentFormat(const Value& format,
                                    const std::vector<Value>& values,
                                    Budget& budget) {
  if (format.text().safe) {
    return absl::UnimplementedError("% on a string marked safe");
  }
  absl::string_view rest = format.string();
  BoundedText out;
  size_t next = 0;
  while (!rest.empty() && !out.full()) {
    const size_t percent = std::min(rest.find('%'), rest.size());
    out.Append(rest.substr(0, percent));
    rest.remove_prefix(percent);
    if (rest.empty()) break;
    rest.remove_prefix(1);
    HEADWISE_RETURN_IF_ERROR(budget.Spend(1));
    HEADWISE_ASSIGN_OR_RETURN(const Conversion conversion,
                              ReadConversion(&rest));
    if (conversion.type == '%') {
      out.Append("%");
      continue;
    }
    if (next == values.size()) {
      return absl::InvalidArgumentError(
          "not enough arguments for format string");
    }
    HEADWISE_ASSIGN_OR_RETURN(std::string text,
                              Convert(conversion, values[next++], budget));
    AppendPadded(conversion, std::move(text), &out);
  }
  // A dict may stand alone: "%(name)s" would read it.
  const bool is_unused_dict =
      next == 0 && values.size() == 1 && values[0].Is(Value::Kind::kDict);
  if (next < values.size() && !is_unused_dict) {
    return absl::InvalidArgumentError(
        "not all arguments converted during string formatting");
  }
  return MakeString(std::move(out), budget);
}

}  // namespace headwise::jinja
