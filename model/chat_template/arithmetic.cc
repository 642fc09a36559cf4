#include "model/chat_template/arithmetic.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/value_sort.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

const char* OperatorText(Operator op) {
  constexpr const char* kTexts[] = {"+",  "-",  "*",  "/",  "//",
                                    "%",  "**", "==", "!=", "<",
                                    "<=", ">",  ">=", "in", "not in"};
  static_assert(std::size(kTexts) == static_cast<size_t>(Operator::kNotIn) + 1);
  return kTexts[static_cast<size_t>(op)];
}

absl::Status Unsupported(Operator op, const Value& a, const Value& b) {
  return absl::InvalidArgumentError(
      absl::StrCat("unsupported operand types for ", OperatorText(op), ": '",
                   TypeName(a), "' and '", TypeName(b), "'"));
}

absl::Status BeyondInt64(Operator op) {
  return absl::UnimplementedError(absl::StrCat(
      "integers beyond 64 bits, as this ", OperatorText(op), " needs"));
}

absl::Status DivisionByZero() {
  return absl::InvalidArgumentError("division by zero");
}

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return DivisionByZero();
    return Value::Float(
        std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  // |base| <= 1 never overflows, whatever the exponent.
  if (base == 0 || base == 1) return Value::Int(exponent == 0 ? 1 : base);
  if (base == -1) return Value::Int(exponent % 2 == 0 ? 1 : -1);
  int64_t power = 1;
  for (int64_t i = 0; i < exponent; ++i) {  // overflows within 63 rounds
    if (__builtin_mul_overflow(power, base, &power)) {
      return BeyondInt64(Operator::kPower);
    }
  }
  return Value::Int(power);
}

absl::StatusOr<Value> IntegerArithmetic(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  switch (op) {
    case Operator::kAdd:
      overflows = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::kSubtract:
      overflows = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::kMultiply:
      overflows = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::kDivide:
      if (b == 0) return DivisionByZero();
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
      if (b == 0) return DivisionByZero();
      overflows = a == std::numeric_limits<int64_t>::min() && b == -1;
      if (overflows) break;
      result = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
      break;
    case Operator::kModulo:
      if (b == 0) return DivisionByZero();
      result = b == -1 ? 0 : a % b;
      if (result != 0 && (result < 0) != (b < 0)) result += b;
      break;
    default:
      return IntegerPower(a, b);
  }
  if (overflows) return BeyondInt64(op);
  return Value::Int(result);
}

// The remainder takes the sign of b, as Python's float_rem.
double FloatModulo(double a, double b) {
  double remainder = std::fmod(a, b);
  if (remainder == 0.0) return std::copysign(0.0, b);
  if ((remainder < 0) != (b < 0)) remainder += b;
  return remainder;
}

// Python's float_floor_div.
double FloatFloorDivide(double a, double b) {
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0.0 && (remainder < 0) != (b < 0)) quotient -= 1.0;
  if (quotient == 0.0) return std::copysign(0.0, a / b);
  double floor = std::floor(quotient);
  if (quotient - floor > 0.5) floor += 1.0;
  return floor;
}

absl::StatusOr<Value> FloatArithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kDivide:
      if (b == 0.0) return DivisionByZero();
      return Value::Float(a / b);
    case Operator::kFloorDivide:
      if (b == 0.0) return DivisionByZero();
      return Value::Float(FloatFloorDivide(a, b));
    case Operator::kModulo:
      if (b == 0.0) return DivisionByZero();
      return Value::Float(FloatModulo(a, b));
    default:
      break;
  }
  if (a == 0.0 && b < 0.0) return DivisionByZero();
  if (a < 0.0 && std::isfinite(b) && b != std::trunc(b)) {
    return absl::UnimplementedError("complex numbers, as this ** needs");
  }
  const double power = std::pow(a, b);
  if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) {
    return absl::InvalidArgumentError("result of ** is too large");
  }
  return Value::Float(power);
}

absl::StatusOr<Value> AddStrings(const Value& a, const Value& b,
                                 Budget& budget) {
  const bool safe = a.text().safe || b.text().safe;
  BoundedText sum;
  for (const Value* part : {&a, &b}) {
    sum.Append(safe && !part->text().safe ? EscapeHtml(part->string())
                                          : part->string());
  }
  return MakeString(std::move(sum), budget, safe);
}

absl::StatusOr<Value> AddSequences(const Value& a, const Value& b,
                                   Budget& budget) {
  const Sequence& left = a.sequence();
  const Sequence& right = b.sequence();
  const bool is_list = left.type == SequenceType::kList;
  if (left.type != right.type ||
      (!is_list && left.type != SequenceType::kTuple)) {
    return Unsupported(Operator::kAdd, a, b);
  }
  HEADWISE_RETURN_IF_ERROR(budget.Spend(
      static_cast<int64_t>(left.items.size() + right.items.size())));
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return MakeSequence(left.type, std::move(items), budget);
}

absl::StatusOr<Value> Repeat(const Value& what, int64_t count, Budget& budget) {
  if (what.Is(Kind::kString)) {
    BoundedText repeated;
    repeated.AppendRepeated(what.string(), count);
    return MakeString(std::move(repeated), budget, what.text().safe);
  }
  const std::vector<Value>& items = what.sequence().items;
  std::vector<Value> repeated;
  for (int64_t i = 0; i < count && !items.empty(); ++i) {
    // Charged before the elements are there, or the bound would come too late.
    HEADWISE_RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(items.size())));
    repeated.insert(repeated.end(), items.begin(), items.end());
  }
  return MakeSequence(what.sequence().type, std::move(repeated), budget);
}

bool IsRepeatable(const Value& value) {
  if (value.Is(Kind::kString)) return true;
  return value.Is(Kind::kSequence) &&
         (value.sequence().type == SequenceType::kList ||
          value.sequence().type == SequenceType::kTuple);
}

}  // namespace

absl::StatusOr<Value> Arithmetic(Operator op, const Value& a, const Value& b,
                                 Budget& budget) {
  if (a.Is(Kind::kUndefined)) return UndefinedError(a);
  if (b.Is(Kind::kUndefined) && !a.Is(Kind::kString)) return UndefinedError(b);
  if (a.IsInteger() && b.IsInteger()) {
    return IntegerArithmetic(op, a.integer(), b.integer());
  }
  if (a.IsNumber() && b.IsNumber()) {
    return FloatArithmetic(op, a.number(), b.number());
  }
  if (op == Operator::kAdd) {
    if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
      return AddStrings(a, b, budget);
    }
    if (a.Is(Kind::kSequence) && b.Is(Kind::kSequence)) {
      return AddSequences(a, b, budget);
    }
  }
  if (op == Operator::kMultiply) {
    if (IsRepeatable(a) && b.IsInteger()) return Repeat(a, b.integer(), budget);
    if (a.IsInteger() && IsRepeatable(b)) return Repeat(b, a.integer(), budget);
  }
  if (op == Operator::kModulo && a.Is(Kind::kString)) {
    const bool is_tuple =
        b.Is(Kind::kSequence) && b.sequence().type == SequenceType::kTuple;
    return PercentFormat(
        a, is_tuple ? b.sequence().items : std::vector<Value>{b}, budget);
  }
  if (b.Is(Kind::kUndefined)) return UndefinedError(b);
  return Unsupported(op, a, b);
}

absl::StatusOr<bool> Compare(Operator op, const Value& a, const Value& b,
                             Budget& budget) {
  // a <= b is not "not b < a" for NaN: equal or less, then.
  const auto less_or_equal = [&budget](const Value& x,
                                       const Value& y) -> absl::StatusOr<bool> {
    HEADWISE_ASSIGN_OR_RETURN(const bool less, Less(x, y, budget));
    if (less) return true;
    return Equals(x, y, budget);
  };
  absl::StatusOr<bool> result = false;
  switch (op) {
    case Operator::kEqual:
      return Equals(a, b, budget);
    case Operator::kLess:
      return Less(a, b, budget);
    case Operator::kLessOrEqual:
      return less_or_equal(a, b);
    case Operator::kGreater:
      return Less(b, a, budget);
    case Operator::kGreaterOrEqual:
      return less_or_equal(b, a);
    case Operator::kIn:
      return Contains(b, a, budget);
    case Operator::kNotEqual:
      result = Equals(a, b, budget);
      break;
    case Operator::kNotIn:
      result = Contains(b, a, budget);
      break;
    default:
      HEADWISE_CHECK(false);
  }
  if (!result.ok()) return result;
  return !*result;
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (value.Is(Kind::kFloat)) return Value::Float(-value.number());
  if (value.IsInteger()) {
    return IntegerArithmetic(Operator::kSubtract, 0, value.integer());
  }
  if (value.Is(Kind::kUndefined)) return UndefinedError(value);
  return absl::InvalidArgumentError(
      absl::StrCat("bad operand type for unary -: '", TypeName(value), "'"));
}

absl::StatusOr<Value> Affirm(const Value& value) {
  if (value.Is(Kind::kFloat)) return value;
  if (value.IsInteger()) return Value::Int(value.integer());
  if (value.Is(Kind::kUndefined)) return UndefinedError(value);
  return absl::InvalidArgumentError(
      absl::StrCat("bad operand type for unary +: '", TypeName(value), "'"));
}

std::string EscapeHtml(absl::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&#34;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped.push_back(c);
    }
  }
  return escaped;
}

}  // namespace headwise::jinja
