// A parsed template.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_SYNTAX_TREE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_SYNTAX_TREE_H_

#include <memory>
#include <string>
#include <vector>

#include "model/chat_template/lexer.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

struct Expression;
// nullptr stands for what the source leaves out.
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  kLiteral,      // literal
  kName,         // name
  kList,         // operands: items
  kTuple,        // operands: items
  kDict,         // operands: key, value, key, value, ...
  kAttribute,    // operands: object; name
  kItem,         // operands: object, key
  kSlice,        // operands: object, start?, stop?, step?
  kNegative,     // operands: one
  kPositive,     // operands: one
  kNot,          // operands: one
  kArithmetic,   // operands: two; operators: one
  kConcat,       // operands: two or more
  kComparison,   // operands: n + 1; operators: n
  kAnd,          // operands: two or more
  kOr,           // operands: two or more
  kConditional,  // operands: condition, then, else?
  kFilter,       // operands: input?, arguments; name; nullptr in filter blocks
  kTest,         // operands: input, arguments; name
  kCall,         // operands: callee, arguments
};

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kIn,
  kNotIn,
};

struct NamedExpression {
  std::string name;
  ExpressionPtr value;
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  Position position;
  int depth = 1;  // 1 + the deepest operand's; <= kMaxNesting
  std::string name;
  Value literal;
  std::vector<Operator> operators;
  std::vector<ExpressionPtr> operands;
  std::vector<NamedExpression> named;  // name=value arguments
};

// What an assignment writes: a name, an attribute of a namespace, or several.
struct Target {
  Position position;
  std::string name;       // empty: `elements` instead
  std::string attribute;  // empty: the name itself
  std::vector<Target> elements;
};

enum class StatementKind {
  kText,        // text
  kOutput,      // value
  kIf,          // branches
  kFor,         // target, value (iterable), condition?, body, else_body
  kSet,         // target, value
  kSetBlock,    // target, value? (filters on the block's text), body
  kMacro,       // text (name), parameters, body
  kFilter,      // value (filters on the block's text), body
  kWith,        // assignments, body
  kGeneration,  // body
  kBreak,
  kContinue,
};

struct Statement;
using Statements = std::vector<Statement>;

struct Branch {
  ExpressionPtr condition;  // nullptr: else
  Statements body;
};

struct Parameter {
  std::string name;
  ExpressionPtr default_value;  // nullptr: none
};

struct Assignment {
  Target target;
  ExpressionPtr value;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  Position position;
  std::string text;
  ExpressionPtr value;
  ExpressionPtr condition;
  Target target;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<Assignment> assignments;
  Statements body;
  Statements else_body;
};

// InvalidArgument for a syntax error, Unimplemented for a construct, filter or
// test that we do not have, ResourceExhausted at a limit; all with the place.
absl::StatusOr<Statements> Parse(absl::string_view source);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_SYNTAX_TREE_H_
