#include "model/chat_template/predicates.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/arithmetic.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/methods.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;
using Result = absl::StatusOr<bool>;

struct PredicateCall {
  const Value& input;
  const BoundArguments& arguments;
  Budget& budget;
};
struct Predicate {
  absl::string_view name;
  size_t num_arguments;  // 0 or 1
  Result (*function)(const PredicateCall& call);
};

template <Kind kKind>
Result IsKind(const PredicateCall& call) {
  return call.input.Is(kKind);
}

template <bool kWanted>
Result IsBoolean(const PredicateCall& call) {
  return call.input.Is(Kind::kBool) && call.input.boolean() == kWanted;
}

template <Operator kOperator>
Result Compares(const PredicateCall& call) {
  return Compare(kOperator, call.input, call.arguments.Get(0), call.budget);
}

Result IsDefined(const PredicateCall& call) {
  return !call.input.Is(Kind::kUndefined);
}

Result IsNumber(const PredicateCall& call) { return call.input.IsNumber(); }

Result IsCallable(const PredicateCall& call) {
  switch (call.input.kind()) {
    case Kind::kUndefined:  // Python finds the __call__ that raises
    case Kind::kMethod:
    case Kind::kFunction:
    case Kind::kMacro:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

Result IsIterable(const PredicateCall& call) {
  switch (call.input.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kSequence:
    case Kind::kDict:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

// Has a length and items by key, as Jinja asks; so a dict is one.
Result IsSequence(const PredicateCall& call) {
  switch (call.input.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kDict:
      return true;
    case Kind::kSequence:
      return call.input.sequence().type != SequenceType::kView &&
             call.input.sequence().type != SequenceType::kGenerator;
    default:
      return false;
  }
}

// input % divisor == remainder.
Result HasRemainder(const PredicateCall& call, const Value& divisor,
                    int64_t remainder) {
  HEADWISE_ASSIGN_OR_RETURN(
      const Value found,
      Arithmetic(Operator::kModulo, call.input, divisor, call.budget));
  return Compare(Operator::kEqual, found, Value::Int(remainder), call.budget);
}

Result IsOdd(const PredicateCall& call) {
  return HasRemainder(call, Value::Int(2), 1);
}
Result IsEven(const PredicateCall& call) {
  return HasRemainder(call, Value::Int(2), 0);
}
Result IsDivisibleBy(const PredicateCall& call) {
  return HasRemainder(call, call.arguments.Get(0), 0);
}

Result IsSameAs(const PredicateCall& call) {
  return call.input.SameAs(call.arguments.Get(0));
}

Result IsEscaped(const PredicateCall& call) {
  return call.input.Is(Kind::kString) && call.input.text().safe;
}

// str(input).islower() or .isupper().
Result HasCase(const PredicateCall& call, absl::string_view method) {
  HEADWISE_ASSIGN_OR_RETURN(std::string text, Str(call.input, call.budget));
  HEADWISE_ASSIGN_OR_RETURN(
      const Value result,
      CallMethod(Value::String(std::move(text)), method, {}, call.budget));
  return result.boolean();
}

Result IsLower(const PredicateCall& call) { return HasCase(call, "islower"); }
Result IsUpper(const PredicateCall& call) { return HasCase(call, "isupper"); }

Result NamesFilter(const PredicateCall& call) {
  return call.input.Is(Kind::kString) && IsFilter(call.input.string());
}
Result NamesTest(const PredicateCall& call) {
  return call.input.Is(Kind::kString) && IsPredicate(call.input.string());
}

constexpr Predicate kPredicates[] = {
    {"defined", 0, IsDefined},
    {"undefined", 0, IsKind<Kind::kUndefined>},
    {"none", 0, IsKind<Kind::kNone>},
    {"boolean", 0, IsKind<Kind::kBool>},
    {"true", 0, IsBoolean<true>},
    {"false", 0, IsBoolean<false>},
    {"integer", 0, IsKind<Kind::kInt>},
    {"float", 0, IsKind<Kind::kFloat>},
    {"number", 0, IsNumber},
    {"string", 0, IsKind<Kind::kString>},
    {"mapping", 0, IsKind<Kind::kDict>},
    {"sequence", 0, IsSequence},
    {"iterable", 0, IsIterable},
    {"callable", 0, IsCallable},
    {"odd", 0, IsOdd},
    {"even", 0, IsEven},
    {"divisibleby", 1, IsDivisibleBy},
    {"sameas", 1, IsSameAs},
    {"escaped", 0, IsEscaped},
    {"lower", 0, IsLower},
    {"upper", 0, IsUpper},
    {"filter", 0, NamesFilter},
    {"test", 0, NamesTest},
    {"in", 1, Compares<Operator::kIn>},
    {"==", 1, Compares<Operator::kEqual>},
    {"eq", 1, Compares<Operator::kEqual>},
    {"equalto", 1, Compares<Operator::kEqual>},
    {"!=", 1, Compares<Operator::kNotEqual>},
    {"ne", 1, Compares<Operator::kNotEqual>},
    {"<", 1, Compares<Operator::kLess>},
    {"lt", 1, Compares<Operator::kLess>},
    {"lessthan", 1, Compares<Operator::kLess>},
    {"<=", 1, Compares<Operator::kLessOrEqual>},
    {"le", 1, Compares<Operator::kLessOrEqual>},
    {">", 1, Compares<Operator::kGreater>},
    {"gt", 1, Compares<Operator::kGreater>},
    {"greaterthan", 1, Compares<Operator::kGreater>},
    {">=", 1, Compares<Operator::kGreaterOrEqual>},
    {"ge", 1, Compares<Operator::kGreaterOrEqual>},
};

const Predicate* Find(absl::string_view name) {
  for (const Predicate& predicate : kPredicates) {
    if (predicate.name == name) return &predicate;
  }
  return nullptr;
}

}  // namespace

bool IsPredicate(absl::string_view name) { return Find(name) != nullptr; }

absl::StatusOr<bool> ApplyPredicate(absl::string_view name, const Value& input,
                                    const CallArguments& arguments,
                                    Budget& budget) {
  const Predicate* predicate = Find(name);
  if (predicate == nullptr) {
    return absl::UnimplementedError(absl::StrCat("test '", name, "'"));
  }
  Signature signature = {.name = name};
  if (predicate->num_arguments > 0) {
    signature.num_required = 1;
    signature.parameters[0] = "other";
  }
  HEADWISE_ASSIGN_OR_RETURN(const BoundArguments bound,
                            BoundArguments::Bind(signature, arguments));
  HEADWISE_RETURN_IF_ERROR(budget.Spend(1));
  return predicate->function({input, bound, budget});
}

}  // namespace headwise::jinja
