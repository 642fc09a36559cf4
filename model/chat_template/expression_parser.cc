// Operators of the expression grammar, and what the whole parser stands on.

#include <algorithm>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/parser.h"

namespace headwise::jinja {
namespace {

struct OperatorText {
  absl::string_view text;
  Operator op;
};

// Binary operators by level, loosest first. Between + and * stands ~, which
// ParseConcat reads.
constexpr OperatorText kSums[] = {{"+", Operator::kAdd},
                                  {"-", Operator::kSubtract}};
constexpr OperatorText kProducts[] = {{"*", Operator::kMultiply},
                                      {"/", Operator::kDivide},
                                      {"//", Operator::kFloorDivide},
                                      {"%", Operator::kModulo}};
constexpr OperatorText kPowers[] = {{"**", Operator::kPower}};
constexpr OperatorText kComparisons[] = {
    {"==", Operator::kEqual},  {"!=", Operator::kNotEqual},
    {"<", Operator::kLess},    {"<=", Operator::kLessOrEqual},
    {">", Operator::kGreater}, {">=", Operator::kGreaterOrEqual}};
enum ArithmeticLevel { kSumLevel, kProductLevel, kPowerLevel };

template <size_t kSize>
std::optional<Operator> FindOperator(const OperatorText (&table)[kSize],
                                     const Token& token) {
  if (token.type != TokenType::kOperator) return std::nullopt;
  for (const OperatorText& entry : table) {
    if (entry.text == token.text) return entry.op;
  }
  return std::nullopt;
}

}  // namespace

absl::Status Parser::Level::Check() const {
  if (parser_->nesting_ <= kMaxNesting) return absl::OkStatus();
  return At(parser_->Peek().position, absl::ResourceExhaustedError(absl::StrCat(
                                          "nested deeper than ", kMaxNesting)));
}

const Token& Parser::PeekSecond() const {
  return tokens_[std::min(next_ + 1, tokens_.size() - 1)];
}

bool Parser::AtOperator(absl::string_view text) const {
  return Peek().type == TokenType::kOperator && Peek().text == text;
}

bool Parser::AtName(absl::string_view text) const {
  return Peek().type == TokenType::kName && Peek().text == text;
}

bool Parser::SkipOperator(absl::string_view text) {
  if (!AtOperator(text)) return false;
  Take();
  return true;
}

bool Parser::SkipName(absl::string_view text) {
  if (!AtName(text)) return false;
  Take();
  return true;
}

Token Parser::Take() {
  Token token = Peek();
  if (next_ + 1 < tokens_.size()) ++next_;
  return token;
}

absl::Status Parser::ExpectOperator(absl::string_view text) {
  if (SkipOperator(text)) return absl::OkStatus();
  return Unexpected(absl::StrCat("'", text, "'"));
}

absl::StatusOr<std::string> Parser::ExpectName() {
  if (Peek().type != TokenType::kName) return Unexpected("a name");
  return Take().text;
}

absl::Status Parser::Unexpected(absl::string_view wanted) const {
  const Token& token = Peek();
  // Enough of a long token to find it.
  constexpr size_t kMaxShown = 40;
  const std::string found =
      token.type == TokenType::kEnd
          ? "end of template"
          : absl::StrCat("'", token.text.substr(0, kMaxShown), "'");
  return At(token.position, absl::InvalidArgumentError(absl::StrCat(
                                "expected ", wanted, ", found ", found)));
}

ExpressionPtr Parser::NewExpression(ExpressionKind kind, Position position) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->position = position;
  return node;
}

absl::StatusOr<ExpressionPtr> Parser::Finish(ExpressionPtr node) {
  for (const ExpressionPtr& operand : node->operands) {
    if (operand != nullptr) {
      node->depth = std::max(node->depth, 1 + operand->depth);
    }
  }
  for (const NamedExpression& named : node->named) {
    node->depth = std::max(node->depth, 1 + named.value->depth);
  }
  if (node->depth <= kMaxNesting) return node;
  return At(node->position,
            absl::ResourceExhaustedError(
                absl::StrCat("expression nested deeper than ", kMaxNesting)));
}

absl::StatusOr<ExpressionPtr> Parser::ParseTuple(bool allow_conditional,
                                                 bool allow_empty) {
  const auto at_end = [this] {
    return Peek().type == TokenType::kVariableEnd ||
           Peek().type == TokenType::kBlockEnd || AtOperator(")");
  };
  ExpressionPtr tuple = NewExpression(ExpressionKind::kTuple, Peek().position);
  bool has_comma = false;
  while (!at_end()) {
    HEADWISE_ASSIGN_OR_RETURN(
        ExpressionPtr item, allow_conditional ? ParseExpression() : ParseOr());
    tuple->operands.push_back(std::move(item));
    if (!SkipOperator(",")) break;
    has_comma = true;
  }
  if (!has_comma && tuple->operands.size() == 1) {
    return std::move(tuple->operands[0]);
  }
  if (tuple->operands.empty() && !allow_empty) {
    return Unexpected("an expression");
  }
  return Finish(std::move(tuple));
}

absl::StatusOr<ExpressionPtr> Parser::ParseExpression() {
  const Level level(this);
  HEADWISE_RETURN_IF_ERROR(level.Check());
  return ParseConditional();
}

absl::StatusOr<ExpressionPtr> Parser::ParseConditional() {
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
  while (AtName("if")) {
    ExpressionPtr node =
        NewExpression(ExpressionKind::kConditional, Take().position);
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (SkipName("else")) {
      HEADWISE_ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    node->operands.push_back(std::move(condition));
    node->operands.push_back(std::move(value));
    node->operands.push_back(std::move(otherwise));
    HEADWISE_ASSIGN_OR_RETURN(value, Finish(std::move(node)));
  }
  return value;
}

absl::StatusOr<ExpressionPtr> Parser::ParseOr() {
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr first, ParseAnd());
  if (!AtName("or")) return first;
  ExpressionPtr node = NewExpression(ExpressionKind::kOr, Peek().position);
  node->operands.push_back(std::move(first));
  while (SkipName("or")) {
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseAnd());
    node->operands.push_back(std::move(operand));
  }
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseAnd() {
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr first, ParseNot());
  if (!AtName("and")) return first;
  ExpressionPtr node = NewExpression(ExpressionKind::kAnd, Peek().position);
  node->operands.push_back(std::move(first));
  while (SkipName("and")) {
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
    node->operands.push_back(std::move(operand));
  }
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseNot() {
  if (!AtName("not")) return ParseComparison();
  const Level level(this);
  HEADWISE_RETURN_IF_ERROR(level.Check());
  ExpressionPtr node = NewExpression(ExpressionKind::kNot, Take().position);
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  node->operands.push_back(std::move(operand));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseComparison() {
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr first, ParseArithmetic(kSumLevel));
  ExpressionPtr node =
      NewExpression(ExpressionKind::kComparison, Peek().position);
  node->operands.push_back(std::move(first));
  while (true) {
    std::optional<Operator> op = FindOperator(kComparisons, Peek());
    if (op.has_value()) {
      Take();
    } else if (SkipName("in")) {
      op = Operator::kIn;
    } else if (AtName("not") && PeekSecond().type == TokenType::kName &&
               PeekSecond().text == "in") {
      Take();
      Take();
      op = Operator::kNotIn;
    } else {
      break;
    }
    node->operators.push_back(*op);
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr operand,
                              ParseArithmetic(kSumLevel));
    node->operands.push_back(std::move(operand));
  }
  if (node->operators.empty()) return std::move(node->operands[0]);
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseConcat() {
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr first,
                            ParseArithmetic(kProductLevel));
  if (!AtOperator("~")) return first;
  ExpressionPtr node = NewExpression(ExpressionKind::kConcat, Peek().position);
  node->operands.push_back(std::move(first));
  while (SkipOperator("~")) {
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr operand,
                              ParseArithmetic(kProductLevel));
    node->operands.push_back(std::move(operand));
  }
  return Finish(std::move(node));
}

// All binary arithmetic is left-associative, ** too: Jinja, unlike Python.
absl::StatusOr<ExpressionPtr> Parser::ParseArithmetic(int level) {
  const auto parse_operand = [&]() -> absl::StatusOr<ExpressionPtr> {
    if (level == kSumLevel) return ParseConcat();
    if (level == kProductLevel) return ParseArithmetic(kPowerLevel);
    return ParseUnary(/*allow_filter=*/true);
  };
  const auto find_operator = [&] {
    if (level == kSumLevel) return FindOperator(kSums, Peek());
    if (level == kProductLevel) return FindOperator(kProducts, Peek());
    return FindOperator(kPowers, Peek());
  };
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr left, parse_operand());
  while (const std::optional<Operator> op = find_operator()) {
    ExpressionPtr node =
        NewExpression(ExpressionKind::kArithmetic, Take().position);
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr right, parse_operand());
    node->operators.push_back(*op);
    node->operands.push_back(std::move(left));
    node->operands.push_back(std::move(right));
    HEADWISE_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

absl::StatusOr<ExpressionPtr> Parser::ParseUnary(bool allow_filter) {
  ExpressionPtr node;
  if (AtOperator("-") || AtOperator("+")) {
    const Level level(this);
    HEADWISE_RETURN_IF_ERROR(level.Check());
    const ExpressionKind kind =
        AtOperator("-") ? ExpressionKind::kNegative : ExpressionKind::kPositive;
    ExpressionPtr sign = NewExpression(kind, Take().position);
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr operand,
                              ParseUnary(/*allow_filter=*/false));
    sign->operands.push_back(std::move(operand));
    HEADWISE_ASSIGN_OR_RETURN(node, Finish(std::move(sign)));
  } else {
    HEADWISE_ASSIGN_OR_RETURN(node, ParsePrimary());
  }
  HEADWISE_ASSIGN_OR_RETURN(node, ParsePostfix(std::move(node)));
  if (!allow_filter) return node;
  return ParseFiltersAndTests(std::move(node));
}

}  // namespace headwise::jinja
