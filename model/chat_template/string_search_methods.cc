// Methods that look for something in a string, or ask what it is made of.

#include <utf8proc.h>

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "model/chat_template/methods.h"
#include "model/chat_template/text_search.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

// The part of the string that the arguments start and end (1 and 2) name.
struct Window {
  absl::string_view text;
  int64_t first = 0;      // code points before it
  bool is_valid = false;  // false: start lies behind end or the string
};

absl::StatusOr<Window> FindWindow(const MethodCall& call) {
  const std::string& text = call.self.string();
  if (call.arguments.FindGiven(1) == nullptr &&
      call.arguments.FindGiven(2) == nullptr) {
    return Window{text, 0, true};
  }
  HEADWISE_RETURN_IF_ERROR(
      call.budget.Spend(static_cast<int64_t>(text.size())));
  const std::vector<size_t> offsets = CodePointOffsets(text);
  const auto length = static_cast<int64_t>(offsets.size()) - 1;
  HEADWISE_ASSIGN_OR_RETURN(int64_t start, call.arguments.IntegerOr(1, 0));
  HEADWISE_ASSIGN_OR_RETURN(int64_t end, call.arguments.IntegerOr(2, length));
  if (start < 0) start = std::max<int64_t>(start + length, 0);
  if (end < 0) end = std::max<int64_t>(end + length, 0);
  end = std::min(end, length);
  if (start > end) return Window{};
  return Window{absl::string_view(text).substr(offsets[start],
                                               offsets[end] - offsets[start]),
                start, true};
}

absl::StatusOr<Value> MatchesAny(const MethodCall& call, bool at_start) {
  HEADWISE_ASSIGN_OR_RETURN(const Window window, FindWindow(call));
  const Value& wanted = call.arguments.Get(0);
  absl::Span<const Value> candidates(&wanted, 1);
  if (wanted.Is(Kind::kSequence) &&
      wanted.sequence().type == SequenceType::kTuple) {
    candidates = wanted.sequence().items;
  }
  for (const Value& candidate : candidates) {
    if (!candidate.Is(Kind::kString)) {
      return absl::InvalidArgumentError(absl::StrCat(
          at_start ? "startswith" : "endswith",
          " needs a string or a tuple of strings, not ", TypeName(candidate)));
    }
    const std::string& text = candidate.string();
    HEADWISE_RETURN_IF_ERROR(
        call.budget.SpendBytes(static_cast<int64_t>(text.size())));
    const bool matches = at_start ? absl::StartsWith(window.text, text)
                                  : absl::EndsWith(window.text, text);
    if (window.is_valid && matches) return Value::Bool(true);
  }
  return Value::Bool(false);
}

absl::StatusOr<Value> StartsWithMethod(const MethodCall& call) {
  return MatchesAny(call, true);
}
absl::StatusOr<Value> EndsWithMethod(const MethodCall& call) {
  return MatchesAny(call, false);
}

// Index in code points, or -1.
absl::StatusOr<int64_t> FindIn(const MethodCall& call, bool from_right) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view wanted,
                            call.arguments.GetString(0));
  HEADWISE_ASSIGN_OR_RETURN(const Window window, FindWindow(call));
  const size_t found = from_right ? FindLast(window.text, wanted)
                                  : FindFirst(window.text, wanted);
  if (!window.is_valid || found == absl::string_view::npos) return -1;
  return window.first + CountCodePoints(window.text.substr(0, found));
}

absl::StatusOr<Value> Find(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t index, FindIn(call, false));
  return Value::Int(index);
}

absl::StatusOr<Value> RightFind(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t index, FindIn(call, true));
  return Value::Int(index);
}

absl::StatusOr<Value> IndexOrError(const MethodCall& call, bool from_right) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t index, FindIn(call, from_right));
  if (index < 0) return absl::InvalidArgumentError("substring not found");
  return Value::Int(index);
}

absl::StatusOr<Value> Index(const MethodCall& call) {
  return IndexOrError(call, false);
}
absl::StatusOr<Value> RightIndex(const MethodCall& call) {
  return IndexOrError(call, true);
}

absl::StatusOr<Value> Count(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view wanted,
                            call.arguments.GetString(0));
  HEADWISE_ASSIGN_OR_RETURN(Window window, FindWindow(call));
  if (!window.is_valid) return Value::Int(0);
  if (wanted.empty()) return Value::Int(CountCodePoints(window.text) + 1);
  int64_t count = 0;
  while (true) {
    const size_t found = FindFirst(window.text, wanted);
    if (found == absl::string_view::npos) return Value::Int(count);
    ++count;
    window.text.remove_prefix(found + wanted.size());
  }
}

// Whether the string has code points, and `is_member` holds for all of them.
template <typename Predicate>
bool AllOf(absl::string_view text, Predicate is_member) {
  for (size_t i = 0; i < text.size();) {
    const Decoded decoded = DecodeAt(text, i);
    if (!is_member(decoded.code_point)) return false;
    i += decoded.num_bytes;
  }
  return !text.empty();
}

bool IsLetter(int32_t code_point) {
  const utf8proc_category_t category = utf8proc_category(code_point);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

// Only ASCII digits and letters of any script are told apart here.
absl::StatusOr<bool> IsDigitClass(const MethodCall& call, bool allow_letters) {
  bool has_other_number = false;
  const bool all = AllOf(call.self.string(), [&](int32_t c) {
    const utf8proc_category_t category = utf8proc_category(c);
    if (c > 0x7f && category >= UTF8PROC_CATEGORY_ND &&
        category <= UTF8PROC_CATEGORY_NO) {
      has_other_number = true;
    }
    return (c >= '0' && c <= '9') || (allow_letters && IsLetter(c));
  });
  if (has_other_number) {
    return absl::UnimplementedError("isdigit of digits beyond ASCII");
  }
  return all;
}

absl::StatusOr<Value> IsDigit(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const bool all, IsDigitClass(call, false));
  return Value::Bool(all);
}

absl::StatusOr<Value> IsAlphanumeric(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const bool all, IsDigitClass(call, true));
  return Value::Bool(all);
}

absl::StatusOr<Value> IsAlpha(const MethodCall& call) {
  return Value::Bool(AllOf(call.self.string(), IsLetter));
}

absl::StatusOr<Value> IsSpaceMethod(const MethodCall& call) {
  return Value::Bool(AllOf(call.self.string(), IsSpace));
}

// Whether some code point is cased, and none has the other case.
absl::StatusOr<Value> HasOneCase(const MethodCall& call, bool upper) {
  const std::string& text = call.self.string();
  bool has_cased = false;
  for (size_t i = 0; i < text.size();) {
    const Decoded decoded = DecodeAt(text, i);
    i += decoded.num_bytes;
    if (!IsCased(decoded.code_point)) continue;
    has_cased = true;
    const utf8proc_category_t category = utf8proc_category(decoded.code_point);
    const bool is_upper =
        category == UTF8PROC_CATEGORY_LU ||
        utf8proc_tolower(decoded.code_point) != decoded.code_point;
    if (is_upper != upper || category == UTF8PROC_CATEGORY_LT) {
      return Value::Bool(false);
    }
  }
  return Value::Bool(has_cased);
}

absl::StatusOr<Value> IsUpper(const MethodCall& call) {
  return HasOneCase(call, true);
}
absl::StatusOr<Value> IsLower(const MethodCall& call) {
  return HasOneCase(call, false);
}

constexpr Signature Searching(absl::string_view name) {
  return {name, 1, {"sub", "start", "end"}};
}

constexpr Method kMethods[] = {
    {Searching("startswith"), StartsWithMethod},
    {Searching("endswith"), EndsWithMethod},
    {Searching("find"), Find},
    {Searching("rfind"), RightFind},
    {Searching("index"), Index},
    {Searching("rindex"), RightIndex},
    {Searching("count"), Count},
    {{.name = "isdigit"}, IsDigit},
    {{.name = "isalnum"}, IsAlphanumeric},
    {{.name = "isalpha"}, IsAlpha},
    {{.name = "isspace"}, IsSpaceMethod},
    {{.name = "isupper"}, IsUpper},
    {{.name = "islower"}, IsLower},
};

}  // namespace

const Method* FindStringSearchMethod(absl::string_view name) {
  for (const Method& method : kMethods) {
    if (method.signature.name == name) return &method;
  }
  return nullptr;
}

}  // namespace headwise::jinja
