// Expressions.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/arithmetic.h"
#include "model/chat_template/attributes.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/globals.h"
#include "model/chat_template/interpreter.h"
#include "model/chat_template/predicates.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {

absl::StatusOr<Value> Interpreter::Evaluate(const Expression& node) {
  const DepthGuard guard(&depth_);
  HEADWISE_RETURN_IF_ERROR(At(node.position, CheckDepth()));
  HEADWISE_RETURN_IF_ERROR(At(node.position, budget_->Spend(1)));
  absl::StatusOr<Value> value = EvaluateKind(node);
  if (!value.ok()) return At(node.position, value.status());
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateKind(const Expression& node) {
  switch (node.kind) {
    case ExpressionKind::kLiteral:
      return node.literal;
    case ExpressionKind::kName:
      return EvaluateName(node);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return EvaluateSequence(node);
    case ExpressionKind::kDict:
      return EvaluateDict(node);
    case ExpressionKind::kAttribute:
    case ExpressionKind::kItem:
      return EvaluateItem(node);
    case ExpressionKind::kSlice:
      return EvaluateSlice(node);
    case ExpressionKind::kNegative:
    case ExpressionKind::kPositive:
    case ExpressionKind::kNot:
      return EvaluateUnary(node);
    case ExpressionKind::kArithmetic:
      return EvaluateArithmetic(node);
    case ExpressionKind::kConcat:
      return EvaluateConcat(node);
    case ExpressionKind::kComparison:
      return EvaluateComparison(node);
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr:
      return EvaluateLogic(node);
    case ExpressionKind::kConditional:
      return EvaluateConditional(node);
    case ExpressionKind::kFilter:
      return EvaluateFilter(node);
    case ExpressionKind::kTest:
      return EvaluateTest(node);
    case ExpressionKind::kCall:
      return EvaluateCall(node);
  }
  HEADWISE_CHECK(false);
}

absl::StatusOr<bool> Interpreter::EvaluateTruth(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value value, Evaluate(node));
  return IsTrue(value);
}

absl::StatusOr<Value> Interpreter::EvaluateName(const Expression& node) {
  if (const Value* set = scope_->Find(node.name)) return *set;
  if (const Value* given = variables_.dict().FindString(node.name)) {
    return *given;
  }
  if (const std::optional<Value> global = FindGlobal(node.name)) {
    return *global;
  }
  HEADWISE_RETURN_IF_ERROR(
      budget_->SpendBytes(static_cast<int64_t>(node.name.size())));
  return Value::Undefined(absl::StrCat("'", node.name, "' is undefined"));
}

absl::StatusOr<Value> Interpreter::EvaluateSequence(const Expression& node) {
  std::vector<Value> items;
  items.reserve(node.operands.size());
  for (const ExpressionPtr& operand : node.operands) {
    HEADWISE_ASSIGN_OR_RETURN(Value item, Evaluate(*operand));
    items.push_back(std::move(item));
  }
  return MakeSequence(node.kind == ExpressionKind::kList ? SequenceType::kList
                                                         : SequenceType::kTuple,
                      std::move(items), *budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateDict(const Expression& node) {
  Dict dict;
  for (size_t i = 0; i < node.operands.size(); i += 2) {
    HEADWISE_ASSIGN_OR_RETURN(const Value key, Evaluate(*node.operands[i]));
    HEADWISE_ASSIGN_OR_RETURN(Value value, Evaluate(*node.operands[i + 1]));
    HEADWISE_RETURN_IF_ERROR(dict.Set(key, std::move(value), *budget_));
  }
  return MakeDict(std::move(dict), *budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateItem(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value object, Evaluate(*node.operands[0]));
  if (node.kind == ExpressionKind::kAttribute) {
    return GetAttribute(object, node.name, *budget_);
  }
  HEADWISE_ASSIGN_OR_RETURN(const Value key, Evaluate(*node.operands[1]));
  return GetItem(object, key, *budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateSlice(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value object, Evaluate(*node.operands[0]));
  SliceBounds bounds;
  Value* const parts[] = {&bounds.start, &bounds.stop, &bounds.step};
  for (size_t i = 0; i < 3; ++i) {
    if (node.operands[i + 1] == nullptr) continue;
    HEADWISE_ASSIGN_OR_RETURN(*parts[i], Evaluate(*node.operands[i + 1]));
  }
  return GetSlice(object, bounds, *budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateUnary(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operands[0]));
  if (node.kind == ExpressionKind::kNot) return Value::Bool(!IsTrue(operand));
  return node.kind == ExpressionKind::kNegative ? Negate(operand)
                                                : Affirm(operand);
}

absl::StatusOr<Value> Interpreter::EvaluateArithmetic(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value left, Evaluate(*node.operands[0]));
  HEADWISE_ASSIGN_OR_RETURN(const Value right, Evaluate(*node.operands[1]));
  return Arithmetic(node.operators[0], left, right, *budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateConcat(const Expression& node) {
  BoundedText text;
  for (const ExpressionPtr& operand : node.operands) {
    HEADWISE_ASSIGN_OR_RETURN(const Value part, Evaluate(*operand));
    HEADWISE_RETURN_IF_ERROR(AppendStr(part, &text));
  }
  return MakeString(std::move(text), *budget_);
}

// a < b < c is a < b and b < c, each operand evaluated at most once.
absl::StatusOr<Value> Interpreter::EvaluateComparison(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(Value left, Evaluate(*node.operands[0]));
  for (size_t i = 0; i < node.operators.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(Value right, Evaluate(*node.operands[i + 1]));
    HEADWISE_ASSIGN_OR_RETURN(
        const bool holds, Compare(node.operators[i], left, right, *budget_));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

// The operand that decides, as in Python, and not its truth.
absl::StatusOr<Value> Interpreter::EvaluateLogic(const Expression& node) {
  const bool decides = node.kind == ExpressionKind::kOr;
  Value value;
  for (const ExpressionPtr& operand : node.operands) {
    HEADWISE_ASSIGN_OR_RETURN(value, Evaluate(*operand));
    if (IsTrue(value) == decides) break;
  }
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateConditional(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const bool holds, EvaluateTruth(*node.operands[0]));
  if (holds) return Evaluate(*node.operands[1]);
  if (node.operands[2] != nullptr) return Evaluate(*node.operands[2]);
  HEADWISE_RETURN_IF_ERROR(budget_->Spend(kStepsPerObject));
  return Value::Undefined(
      "the inline if-expression was false and has no else part");
}

absl::StatusOr<CallArguments> Interpreter::EvaluateArguments(
    const Expression& node) {
  CallArguments arguments;
  for (size_t i = 1; i < node.operands.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(Value value, Evaluate(*node.operands[i]));
    arguments.positional.push_back(std::move(value));
  }
  for (const NamedExpression& named : node.named) {
    HEADWISE_ASSIGN_OR_RETURN(Value value, Evaluate(*named.value));
    arguments.named.emplace_back(named.name, std::move(value));
  }
  return arguments;
}

absl::StatusOr<Value> Interpreter::EvaluateFilter(const Expression& node) {
  Value input;
  if (node.operands[0] != nullptr) {
    HEADWISE_ASSIGN_OR_RETURN(input, Evaluate(*node.operands[0]));
  } else {
    input = block_texts_.back();
  }
  HEADWISE_ASSIGN_OR_RETURN(const CallArguments arguments,
                            EvaluateArguments(node));
  return ApplyFilter(node.name, input, arguments, *budget_);
}

absl::StatusOr<Value> Interpreter::EvaluateTest(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value input, Evaluate(*node.operands[0]));
  HEADWISE_ASSIGN_OR_RETURN(const CallArguments arguments,
                            EvaluateArguments(node));
  HEADWISE_ASSIGN_OR_RETURN(
      const bool holds, ApplyPredicate(node.name, input, arguments, *budget_));
  return Value::Bool(holds);
}

}  // namespace headwise::jinja
