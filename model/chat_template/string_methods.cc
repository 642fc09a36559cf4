// Methods that make strings of a string.

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/methods.h"
#include "model/chat_template/text_search.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

absl::StatusOr<Value> Upper(const MethodCall& call) {
  return MakeString(ToUpper(call.self.string()), call.budget);
}

absl::StatusOr<Value> Lower(const MethodCall& call) {
  return MakeString(ToLower(call.self.string()), call.budget);
}

absl::StatusOr<Value> Title(const MethodCall& call) {
  return MakeString(ToTitle(call.self.string()), call.budget);
}

absl::StatusOr<Value> CapitalizeMethod(const MethodCall& call) {
  return MakeString(Capitalize(call.self.string()), call.budget);
}

absl::StatusOr<Value> StripSides(const MethodCall& call, bool left,
                                 bool right) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string* chars,
                            call.arguments.FindString(0));
  std::optional<absl::string_view> view;
  if (chars != nullptr) {
    view = *chars;
    // Each code point stripped is looked for in all of `chars`.
    constexpr size_t kMaxStripChars = 64;
    if (chars->size() > kMaxStripChars) {
      return absl::ResourceExhaustedError(
          absl::StrCat("strip of ", chars->size(),
                       " bytes of characters; at "
                       "most ",
                       kMaxStripChars));
    }
  }
  absl::string_view text = call.self.string();
  if (left) text = StripLeft(text, view);
  if (right) text = StripRight(text, view);
  return MakeString(std::string(text), call.budget);
}

absl::StatusOr<Value> Strip(const MethodCall& call) {
  return StripSides(call, true, true);
}
absl::StatusOr<Value> LeftStrip(const MethodCall& call) {
  return StripSides(call, true, false);
}
absl::StatusOr<Value> RightStrip(const MethodCall& call) {
  return StripSides(call, false, true);
}

// The list of `pieces`, or of their reverse.
absl::StatusOr<Value> StringList(std::vector<absl::string_view> pieces,
                                 bool reversed, Budget& budget) {
  if (reversed) std::reverse(pieces.begin(), pieces.end());
  std::vector<Value> items;
  items.reserve(pieces.size());
  for (const absl::string_view piece : pieces) {
    HEADWISE_ASSIGN_OR_RETURN(Value item,
                              MakeString(std::string(piece), budget));
    items.push_back(std::move(item));
  }
  return MakeSequence(SequenceType::kList, std::move(items), budget);
}

// split() without a separator: runs of white space count as one.
std::vector<absl::string_view> SplitSpace(absl::string_view text,
                                          int64_t max_splits) {
  std::vector<absl::string_view> pieces;
  text = StripLeft(text, std::nullopt);
  while (!text.empty()) {
    if (static_cast<int64_t>(pieces.size()) == max_splits) {
      pieces.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const Decoded decoded = DecodeAt(text, end);
      if (IsSpace(decoded.code_point)) break;
      end += decoded.num_bytes;
    }
    pieces.push_back(text.substr(0, end));
    text = StripLeft(text.substr(end), std::nullopt);
  }
  return pieces;
}

std::vector<absl::string_view> SplitBy(absl::string_view text,
                                       absl::string_view separator,
                                       int64_t max_splits) {
  std::vector<absl::string_view> pieces;
  while (static_cast<int64_t>(pieces.size()) < max_splits) {
    const size_t found = FindFirst(text, separator);
    if (found == absl::string_view::npos) break;
    pieces.push_back(text.substr(0, found));
    text.remove_prefix(found + separator.size());
  }
  pieces.push_back(text);
  return pieces;
}

// Pieces from the right.
std::vector<absl::string_view> SplitByFromRight(absl::string_view text,
                                                absl::string_view separator,
                                                int64_t max_splits) {
  const std::string text_reversed(text.rbegin(), text.rend());
  const std::string separator_reversed(separator.rbegin(), separator.rend());
  std::vector<absl::string_view> pieces =
      SplitBy(text_reversed, separator_reversed, max_splits);
  for (absl::string_view& piece : pieces) {
    const auto num_after =
        static_cast<size_t>(piece.data() - text_reversed.data());
    piece = text.substr(text.size() - num_after - piece.size(), piece.size());
  }
  return pieces;
}

absl::StatusOr<Value> SplitFrom(const MethodCall& call, bool from_right) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string* separator,
                            call.arguments.FindString(0));
  HEADWISE_ASSIGN_OR_RETURN(int64_t max_splits,
                            call.arguments.IntegerOr(1, -1));
  // More pieces than this cost more than there is: no need to look for them.
  constexpr int64_t kMaxPieces = kMaxSteps / kStepsPerObject;
  if (max_splits < 0) max_splits = kMaxPieces;
  max_splits = std::min(max_splits, kMaxPieces);
  const absl::string_view text = call.self.string();
  if (separator == nullptr) {
    std::vector<absl::string_view> pieces = SplitSpace(text, max_splits);
    if (from_right && static_cast<int64_t>(pieces.size()) > max_splits) {
      return absl::UnimplementedError("rsplit of white space with a limit");
    }
    return StringList(std::move(pieces), false, call.budget);
  }
  if (separator->empty()) return absl::InvalidArgumentError("empty separator");
  return StringList(from_right ? SplitByFromRight(text, *separator, max_splits)
                               : SplitBy(text, *separator, max_splits),
                    from_right, call.budget);
}

absl::StatusOr<Value> Split(const MethodCall& call) {
  return SplitFrom(call, false);
}
absl::StatusOr<Value> RightSplit(const MethodCall& call) {
  return SplitFrom(call, true);
}

absl::StatusOr<Value> SplitLinesMethod(const MethodCall& call) {
  if (call.arguments.IsTrueOr(0, false)) {
    return absl::UnimplementedError("splitlines(keepends=true)");
  }
  std::vector<Value> lines;
  absl::string_view rest = call.self.string();
  while (!rest.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(
        Value line, MakeString(std::string(TakeLine(&rest)), call.budget));
    lines.push_back(std::move(line));
  }
  return MakeSequence(SequenceType::kList, std::move(lines), call.budget);
}

absl::StatusOr<Value> Partition(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view separator,
                            call.arguments.GetString(0));
  if (separator.empty()) return absl::InvalidArgumentError("empty separator");
  const std::string& text = call.self.string();
  const size_t found = std::min(FindFirst(text, separator), text.size());
  std::vector<Value> parts;
  parts.push_back(Value::String(text.substr(0, found)));
  parts.push_back(Value::String(text.substr(found, separator.size())));
  parts.push_back(Value::String(
      text.substr(std::min(found + separator.size(), text.size()))));
  return MakeSequence(SequenceType::kTuple, std::move(parts), call.budget);
}

absl::StatusOr<Value> Join(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.arguments.Get(0), call.budget));
  BoundedText joined;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].Is(Kind::kString)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "join: item ", i, " must be a string, not ", TypeName(items[i])));
    }
    if (i > 0) joined.Append(call.self.string());
    joined.Append(items[i].string());
  }
  return MakeString(std::move(joined), call.budget);
}

absl::StatusOr<Value> Replace(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view old_text,
                            call.arguments.GetString(0));
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view new_text,
                            call.arguments.GetString(1));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t max_count,
                            call.arguments.IntegerOr(2, -1));
  return MakeString(
      ReplaceAll(call.self.string(), old_text, new_text, max_count),
      call.budget);
}

absl::StatusOr<Value> RemovePrefix(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view prefix,
                            call.arguments.GetString(0));
  absl::string_view text = call.self.string();
  if (absl::StartsWith(text, prefix)) text.remove_prefix(prefix.size());
  return MakeString(std::string(text), call.budget);
}

absl::StatusOr<Value> RemoveSuffix(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view suffix,
                            call.arguments.GetString(0));
  absl::string_view text = call.self.string();
  if (absl::EndsWith(text, suffix)) text.remove_suffix(suffix.size());
  return MakeString(std::string(text), call.budget);
}

// The argument that a replacement field names: by index, by name, or, if it is
// empty, the next one.
absl::StatusOr<Value> FormatField(absl::string_view field,
                                  const CallArguments& arguments,
                                  size_t* next) {
  size_t index = 0;
  if (field.empty()) {
    index = (*next)++;
  } else if (!absl::SimpleAtoi(field, &index)) {
    for (const auto& [name, value] : arguments.named) {
      if (name == field) return value;
    }
    if (field.find_first_of(".[!:") != absl::string_view::npos) {
      return absl::UnimplementedError(
          absl::StrCat("format field '{", field, "}'"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("format: no argument '", field, "'"));
  }
  if (index < arguments.positional.size()) return arguments.positional[index];
  return absl::InvalidArgumentError(
      absl::StrCat("format: no argument ", index));
}

absl::StatusOr<Value> Format(const MethodCall& call) {
  absl::string_view rest = call.self.string();
  BoundedText out;
  size_t next = 0;
  while (!rest.empty() && !out.full()) {
    const size_t brace = std::min(rest.find_first_of("{}"), rest.size());
    out.Append(rest.substr(0, brace));
    rest.remove_prefix(brace);
    if (rest.empty()) break;
    if (rest.size() > 1 && rest[1] == rest[0]) {  // {{ and }}
      out.Append(rest.substr(0, 1));
      rest.remove_prefix(2);
      continue;
    }
    const size_t end = rest.find('}');
    if (rest[0] == '}' || end == absl::string_view::npos) {
      return absl::InvalidArgumentError("format: single brace");
    }
    HEADWISE_RETURN_IF_ERROR(
        call.budget.Spend(1 + static_cast<int64_t>(call.unbound.named.size())));
    HEADWISE_ASSIGN_OR_RETURN(
        const Value value,
        FormatField(rest.substr(1, end - 1), call.unbound, &next));
    HEADWISE_RETURN_IF_ERROR(AppendStr(value, &out));
    rest.remove_prefix(end + 1);
  }
  return MakeString(std::move(out), call.budget);
}

constexpr Method kMethods[] = {
    {{.name = "upper"}, Upper},
    {{.name = "lower"}, Lower},
    {{.name = "title"}, Title},
    {{.name = "capitalize"}, CapitalizeMethod},
    {{.name = "strip", .parameters = {"chars"}}, Strip},
    {{.name = "lstrip", .parameters = {"chars"}}, LeftStrip},
    {{.name = "rstrip", .parameters = {"chars"}}, RightStrip},
    {{.name = "split", .parameters = {"sep", "maxsplit"}}, Split},
    {{.name = "rsplit", .parameters = {"sep", "maxsplit"}}, RightSplit},
    {{.name = "splitlines", .parameters = {"keepends"}}, SplitLinesMethod},
    {{.name = "partition", .num_required = 1, .parameters = {"sep"}},
     Partition},
    {{.name = "join", .num_required = 1, .parameters = {"iterable"}}, Join},
    {{.name = "replace",
      .num_required = 2,
      .parameters = {"old", "new", "count"}},
     Replace},
    {{.name = "removeprefix", .num_required = 1, .parameters = {"prefix"}},
     RemovePrefix},
    {{.name = "removesuffix", .num_required = 1, .parameters = {"suffix"}},
     RemoveSuffix},
    {{.name = "format"}, Format, /*is_variadic=*/true},
};

}  // namespace

const Method* FindStringMethod(absl::string_view name) {
  for (const Method& method : kMethods) {
    if (method.signature.name == name) return &method;
  }
  return nullptr;
}

}  // namespace headwise::jinja
