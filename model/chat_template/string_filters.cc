// Filters that read their input as text.

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/arithmetic.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/methods.h"
#include "model/chat_template/text_search.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

bool IsSafe(const Value& value) {
  return value.Is(Kind::kString) && value.text().safe;
}

// str(input) changed by `change`, still safe if the input was.
absl::StatusOr<Value> MapText(const FilterCall& call,
                              std::string (*change)(absl::string_view)) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            Str(call.input, call.budget));
  return MakeString(change(text), call.budget, IsSafe(call.input));
}

absl::StatusOr<Value> Upper(const FilterCall& call) {
  return MapText(call, ToUpper);
}
absl::StatusOr<Value> Lower(const FilterCall& call) {
  return MapText(call, ToLower);
}
absl::StatusOr<Value> CapitalizeFilter(const FilterCall& call) {
  return MapText(call, Capitalize);
}

// Unlike str.title, a word begins only after white space or one of -({[<.
std::string TitleWords(absl::string_view text) {
  const auto is_separator = [](const Decoded& decoded) {
    const int32_t c = decoded.code_point;
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' ||
           IsSpace(c);
  };
  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    const bool in_separators = is_separator(DecodeAt(text, i));
    const size_t first_bytes = DecodeAt(text, i).num_bytes;
    size_t end = i;
    while (end < text.size() &&
           is_separator(DecodeAt(text, end)) == in_separators) {
      end += DecodeAt(text, end).num_bytes;
    }
    out += ToUpper(text.substr(i, first_bytes));
    out += ToLower(text.substr(i + first_bytes, end - i - first_bytes));
    i = end;
  }
  return out;
}

absl::StatusOr<Value> Title(const FilterCall& call) {
  return MapText(call, TitleWords);
}

absl::StatusOr<Value> Trim(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(std::string text, Str(call.input, call.budget));
  CallArguments arguments;
  if (const Value* chars = call.arguments.Find(0)) {
    arguments.positional.push_back(*chars);
  }
  HEADWISE_ASSIGN_OR_RETURN(const Value stripped,
                            CallMethod(Value::String(std::move(text)), "strip",
                                       arguments, call.budget));
  return Value::String(stripped.string(), IsSafe(call.input));
}

absl::StatusOr<Value> Replace(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            Str(call.input, call.budget));
  HEADWISE_ASSIGN_OR_RETURN(const std::string old_text,
                            Str(call.arguments.Get(0), call.budget));
  HEADWISE_ASSIGN_OR_RETURN(const std::string new_text,
                            Str(call.arguments.Get(1), call.budget));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t max_count,
                            call.arguments.IntegerOr(2, -1));
  return MakeString(ReplaceAll(text, old_text, new_text, max_count),
                    call.budget);
}

absl::StatusOr<Value> Indent(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            Str(call.input, call.budget));
  BoundedText indent;
  const Value* width = call.arguments.Find(0);
  if (width != nullptr && width->Is(Kind::kString)) {
    indent.Append(width->string());
  } else {
    constexpr int64_t kDefaultWidth = 4;
    HEADWISE_ASSIGN_OR_RETURN(const int64_t num_spaces,
                              call.arguments.IntegerOr(0, kDefaultWidth));
    indent.AppendRepeated(" ", num_spaces);
  }
  HEADWISE_RETURN_IF_ERROR(indent.Check());
  const bool first = call.arguments.IsTrueOr(1, false);
  const bool blank = call.arguments.IsTrueOr(2, false);

  // A line end of its own makes an empty text one line, and keeps a last one.
  const std::string with_end = text + "\n";
  absl::string_view rest = with_end;
  BoundedText out;
  for (bool is_first = true; !rest.empty() && !out.full(); is_first = false) {
    const absl::string_view line = TakeLine(&rest);
    if (!is_first) out.Append("\n");
    const bool is_indented = is_first ? first : blank || !line.empty();
    if (is_indented) out.Append(indent.text());
    out.Append(line);
  }
  return MakeString(std::move(out), call.budget, IsSafe(call.input));
}

absl::StatusOr<Value> String(const FilterCall& call) {
  if (call.input.Is(Kind::kString)) return call.input;
  HEADWISE_ASSIGN_OR_RETURN(std::string text, Str(call.input, call.budget));
  return MakeString(std::move(text), call.budget);
}

absl::StatusOr<Value> Safe(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(std::string text, Str(call.input, call.budget));
  return MakeString(std::move(text), call.budget, /*safe=*/true);
}

absl::StatusOr<Value> Escape(const FilterCall& call) {
  if (IsSafe(call.input)) return call.input;
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            Str(call.input, call.budget));
  return MakeString(EscapeHtml(text), call.budget, /*safe=*/true);
}

absl::StatusOr<Value> Format(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(std::string text, Str(call.input, call.budget));
  if (!call.unbound.named.empty()) {
    return absl::UnimplementedError("format with named arguments");
  }
  return PercentFormat(Value::String(std::move(text)), call.unbound.positional,
                       call.budget);
}

constexpr Filter kFilters[] = {
    {{.name = "upper"}, Upper},
    {{.name = "lower"}, Lower},
    {{.name = "capitalize"}, CapitalizeFilter},
    {{.name = "title"}, Title},
    {{.name = "trim", .parameters = {"chars"}}, Trim},
    {{.name = "replace",
      .num_required = 2,
      .parameters = {"old", "new", "count"}},
     Replace},
    {{.name = "indent", .parameters = {"width", "first", "blank"}}, Indent},
    {{.name = "string"}, String},
    {{.name = "safe"}, Safe},
    {{.name = "e"}, Escape},
    {{.name = "escape"}, Escape},
    {{.name = "format"}, Format, /*is_variadic=*/true},
};

}  // namespace

const Filter* FindStringFilter(absl::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.signature.name == name) return &filter;
  }
  return nullptr;
}

}  // namespace headwise::jinja
