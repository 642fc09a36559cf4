#include "model/chat_template/methods.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

// Attributes that Python's types have and we don't.
constexpr absl::string_view kMissingOfStr[] = {
    "casefold", "center",    "encode",       "expandtabs", "format_map",
    "isascii",  "isdecimal", "isidentifier", "isnumeric",  "isprintable",
    "istitle",  "ljust",     "maketrans",    "rjust",      "rpartition",
    "swapcase", "translate", "zfill"};
constexpr absl::string_view kMissingOfDict[] = {"fromkeys"};
constexpr absl::string_view kMissingOfNumber[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
    "numerator",        "real",      "to_bytes"};
constexpr absl::string_view kMissingOfMacro[] = {
    "arguments", "caller", "catch_kwargs", "catch_varargs", "name"};

// What jinja2.sandbox calls modifying a known mutable.
constexpr absl::string_view kUnsafeOfDict[] = {"clear", "pop", "popitem",
                                               "setdefault", "update"};
constexpr absl::string_view kUnsafeOfList[] = {
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};

// What every Python string, list and dict has, and the sandbox forbids.
constexpr absl::string_view kUnsafeOfAll[] = {
    "__class__",       "__contains__",  "__delattr__",
    "__dir__",         "__doc__",       "__eq__",
    "__format__",      "__ge__",        "__getattribute__",
    "__getitem__",     "__getstate__",  "__gt__",
    "__hash__",        "__init__",      "__init_subclass__",
    "__iter__",        "__le__",        "__len__",
    "__lt__",          "__ne__",        "__new__",
    "__reduce__",      "__reduce_ex__", "__repr__",
    "__setattr__",     "__sizeof__",    "__str__",
    "__subclasshook__"};

template <size_t kSize>
bool IsOneOf(absl::string_view name, const absl::string_view (&names)[kSize]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

const Method* Find(const Value& self, absl::string_view name) {
  switch (self.kind()) {
    case Kind::kString: {
      const Method* method = FindStringMethod(name);
      return method != nullptr ? method : FindStringSearchMethod(name);
    }
    case Kind::kDict:
      return FindDictMethod(name);
    case Kind::kSequence:
      if (self.sequence().type == SequenceType::kView ||
          self.sequence().type == SequenceType::kGenerator) {
        return nullptr;
      }
      if (name == "copy" && self.sequence().type != SequenceType::kList) {
        return nullptr;
      }
      return FindSequenceMethod(name);
    default:
      return nullptr;
  }
}

}  // namespace

MethodSupport FindMethod(const Value& self, absl::string_view name) {
  if (IsOneOf(name, kUnsafeOfAll)) return MethodSupport::kUnsafe;
  if (Find(self, name) != nullptr) return MethodSupport::kImplemented;
  bool is_missing = false;
  switch (self.kind()) {
    case Kind::kString:
      is_missing = IsOneOf(name, kMissingOfStr);
      break;
    case Kind::kDict:
      if (IsOneOf(name, kUnsafeOfDict)) return MethodSupport::kUnsafe;
      is_missing = IsOneOf(name, kMissingOfDict);
      break;
    case Kind::kSequence:
      if (self.sequence().type == SequenceType::kList &&
          IsOneOf(name, kUnsafeOfList)) {
        return MethodSupport::kUnsafe;
      }
      break;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      is_missing = IsOneOf(name, kMissingOfNumber);
      break;
    case Kind::kMacro:
      is_missing = IsOneOf(name, kMissingOfMacro);
      break;
    default:
      break;
  }
  return is_missing ? MethodSupport::kMissing : MethodSupport::kNone;
}

absl::StatusOr<Value> CallMethod(const Value& self, absl::string_view name,
                                 const CallArguments& arguments,
                                 Budget& budget) {
  const Method& method = *Find(self, name);
  if (self.Is(Kind::kString)) {
    if (self.text().safe) {
      return absl::UnimplementedError(
          absl::StrCat("method '", name, "' of a string marked safe"));
    }
    HEADWISE_RETURN_IF_ERROR(
        budget.SpendBytes(static_cast<int64_t>(self.string().size())));
  }
  HEADWISE_RETURN_IF_ERROR(SpendStrings(arguments, budget));
  HEADWISE_ASSIGN_OR_RETURN(
      const BoundArguments bound,
      BoundArguments::Bind(method.signature,
                           method.is_variadic ? CallArguments() : arguments));
  return method.function({self, bound, arguments, budget});
}

}  // namespace headwise::jinja
