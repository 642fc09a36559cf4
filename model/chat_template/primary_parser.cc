// The tips of the expression grammar: literals, names, brackets, and the calls,
// subscripts, filters and tests that follow them.

#include <charconv>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/parser.h"
#include "model/chat_template/predicates.h"

namespace headwise::jinja {
namespace {

// What a macro may use without declaring it; we have none of these.
bool IsImplicitMacroName(absl::string_view name) {
  return name == "varargs" || name == "kwargs" || name == "caller";
}

}  // namespace

absl::StatusOr<ExpressionPtr> Parser::ParsePrimary() {
  const Token& token = Peek();
  switch (token.type) {
    case TokenType::kName:
      return ParseName();
    case TokenType::kString: {
      ExpressionPtr node =
          NewExpression(ExpressionKind::kLiteral, token.position);
      std::string text;
      while (Peek().type == TokenType::kString) {
        absl::StrAppend(&text, Take().text);
      }
      node->literal = Value::String(std::move(text));
      return node;
    }
    case TokenType::kInteger:
    case TokenType::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (SkipOperator("(")) {
    HEADWISE_ASSIGN_OR_RETURN(
        ExpressionPtr node,
        ParseTuple(/*allow_conditional=*/true, /*allow_empty=*/true));
    HEADWISE_RETURN_IF_ERROR(ExpectOperator(")"));
    return node;
  }
  if (AtOperator("[")) return ParseList();
  if (AtOperator("{")) return ParseDict();
  return Unexpected("an expression");
}

absl::StatusOr<ExpressionPtr> Parser::ParseName() {
  const Token token = Take();
  ExpressionPtr node = NewExpression(ExpressionKind::kLiteral, token.position);
  const std::string& name = token.text;
  if (name == "true" || name == "True") {
    node->literal = Value::Bool(true);
  } else if (name == "false" || name == "False") {
    node->literal = Value::Bool(false);
  } else if (name == "none" || name == "None") {
    node->literal = Value::None();
  } else {
    node->kind = ExpressionKind::kName;
    node->name = name;
    if (macro_parameters_ != nullptr && IsImplicitMacroName(name)) {
      bool is_declared = false;
      for (const Parameter& parameter : *macro_parameters_) {
        is_declared = is_declared || parameter.name == name;
      }
      if (!is_declared) {
        return At(token.position, absl::UnimplementedError(
                                      absl::StrCat("'", name, "' in a macro")));
      }
    }
  }
  return node;
}

absl::StatusOr<ExpressionPtr> Parser::ParseNumber() {
  const Token token = Take();
  ExpressionPtr node = NewExpression(ExpressionKind::kLiteral, token.position);
  if (token.type == TokenType::kFloat) {
    double value = 0;
    if (!absl::SimpleAtod(token.text, &value)) {
      return At(token.position, absl::InvalidArgumentError(absl::StrCat(
                                    "'", token.text, "' is no number")));
    }
    node->literal = Value::Float(value);
    return node;
  }
  int base = 10;
  absl::string_view digits = token.text;
  if (digits.size() > 2 && digits[0] == '0' && digits[1] > '9') {
    base = (digits[1] | 0x20) == 'x' ? 16 : (digits[1] | 0x20) == 'o' ? 8 : 2;
    digits.remove_prefix(2);
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(
      digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return At(token.position,
              absl::UnimplementedError(absl::StrCat(
                  "integer ", token.text.substr(0, 40), " beyond 64 bits")));
  }
  node->literal = Value::Int(value);
  return node;
}

absl::StatusOr<ExpressionPtr> Parser::ParseList() {
  ExpressionPtr node = NewExpression(ExpressionKind::kList, Take().position);
  while (!AtOperator("]")) {
    if (!node->operands.empty()) {
      HEADWISE_RETURN_IF_ERROR(ExpectOperator(","));
      if (AtOperator("]")) break;
    }
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    node->operands.push_back(std::move(item));
  }
  HEADWISE_RETURN_IF_ERROR(ExpectOperator("]"));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseDict() {
  ExpressionPtr node = NewExpression(ExpressionKind::kDict, Take().position);
  while (!AtOperator("}")) {
    if (!node->operands.empty()) {
      HEADWISE_RETURN_IF_ERROR(ExpectOperator(","));
      if (AtOperator("}")) break;
    }
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    HEADWISE_RETURN_IF_ERROR(ExpectOperator(":"));
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    node->operands.push_back(std::move(key));
    node->operands.push_back(std::move(value));
  }
  HEADWISE_RETURN_IF_ERROR(ExpectOperator("}"));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParsePostfix(ExpressionPtr node) {
  while (true) {
    if (AtOperator(".")) {
      HEADWISE_ASSIGN_OR_RETURN(node, ParseAttribute(std::move(node)));
    } else if (AtOperator("[")) {
      HEADWISE_ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (AtOperator("(")) {
      HEADWISE_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseFiltersAndTests(ExpressionPtr node) {
  while (true) {
    if (SkipOperator("|")) {
      HEADWISE_ASSIGN_OR_RETURN(node, ParseFilter(std::move(node)));
    } else if (AtName("is")) {
      HEADWISE_ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (AtOperator("(")) {
      HEADWISE_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseAttribute(ExpressionPtr object) {
  ExpressionPtr node =
      NewExpression(ExpressionKind::kAttribute, Take().position);
  node->operands.push_back(std::move(object));
  if (Peek().type == TokenType::kName) {
    node->name = Take().text;
    return Finish(std::move(node));
  }
  if (Peek().type != TokenType::kInteger) {
    return Unexpected("a name or an integer");
  }
  node->kind = ExpressionKind::kItem;
  HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr index, ParseNumber());
  node->operands.push_back(std::move(index));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseSubscript(ExpressionPtr object) {
  ExpressionPtr node = NewExpression(ExpressionKind::kItem, Take().position);
  node->operands.push_back(std::move(object));
  // Up to three expressions with colons between, each of which may be missing.
  int num_colons = 0;
  ExpressionPtr part;
  while (!AtOperator("]")) {
    if (AtOperator(",")) {
      return At(Peek().position,
                absl::UnimplementedError("several subscripts in one []"));
    }
    if (num_colons < 2 && SkipOperator(":")) {
      ++num_colons;
      node->operands.push_back(std::move(part));
      part = nullptr;
      continue;
    }
    if (part != nullptr) return Unexpected("']'");
    HEADWISE_ASSIGN_OR_RETURN(part, ParseExpression());
  }
  if (num_colons == 0 && part == nullptr) return Unexpected("a subscript");
  node->operands.push_back(std::move(part));
  HEADWISE_RETURN_IF_ERROR(ExpectOperator("]"));
  if (num_colons > 0) {
    node->kind = ExpressionKind::kSlice;
    node->operands.resize(4);
  }
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseCall(ExpressionPtr callee) {
  ExpressionPtr node = NewExpression(ExpressionKind::kCall, Peek().position);
  node->operands.push_back(std::move(callee));
  HEADWISE_RETURN_IF_ERROR(ParseArguments(node.get()));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseFilter(ExpressionPtr input) {
  ExpressionPtr node = NewExpression(ExpressionKind::kFilter, Peek().position);
  node->operands.push_back(std::move(input));
  HEADWISE_ASSIGN_OR_RETURN(node->name, ExpectName());
  if (!IsFilter(node->name)) {
    return At(node->position, absl::UnimplementedError(
                                  absl::StrCat("filter '", node->name, "'")));
  }
  if (AtOperator("(")) HEADWISE_RETURN_IF_ERROR(ParseArguments(node.get()));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseTest(ExpressionPtr input) {
  const Position is_position = Take().position;
  const bool is_negated = SkipName("not");
  ExpressionPtr node = NewExpression(ExpressionKind::kTest, Peek().position);
  node->operands.push_back(std::move(input));
  HEADWISE_ASSIGN_OR_RETURN(node->name, ExpectName());
  if (!IsPredicate(node->name)) {
    return At(node->position, absl::UnimplementedError(
                                  absl::StrCat("test '", node->name, "'")));
  }
  const TokenType type = Peek().type;
  const bool begins_argument =
      (type == TokenType::kName && !AtName("else") && !AtName("or") &&
       !AtName("and")) ||
      type == TokenType::kString || type == TokenType::kInteger ||
      type == TokenType::kFloat || AtOperator("[") || AtOperator("{");
  if (AtOperator("(")) {
    HEADWISE_RETURN_IF_ERROR(ParseArguments(node.get()));
  } else if (begins_argument) {
    if (AtName("is")) return Unexpected("no second 'is' in a chain");
    HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    HEADWISE_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    node->operands.push_back(std::move(argument));
  }
  if (!is_negated) return Finish(std::move(node));
  ExpressionPtr negation = NewExpression(ExpressionKind::kNot, is_position);
  HEADWISE_ASSIGN_OR_RETURN(node, Finish(std::move(node)));
  negation->operands.push_back(std::move(node));
  return Finish(std::move(negation));
}

absl::Status Parser::ParseArguments(Expression* node) {
  HEADWISE_RETURN_IF_ERROR(ExpectOperator("("));
  bool is_first = true;
  while (!AtOperator(")")) {
    if (!is_first) {
      HEADWISE_RETURN_IF_ERROR(ExpectOperator(","));
      if (AtOperator(")")) break;
    }
    is_first = false;
    if (AtOperator("*") || AtOperator("**")) {
      return At(Peek().position,
                absl::UnimplementedError("* and ** in a call's arguments"));
    }
    const bool is_named = Peek().type == TokenType::kName &&
                          PeekSecond().type == TokenType::kOperator &&
                          PeekSecond().text == "=";
    if (is_named) {
      NamedExpression named;
      named.name = Take().text;
      Take();
      HEADWISE_ASSIGN_OR_RETURN(named.value, ParseExpression());
      node->named.push_back(std::move(named));
    } else if (!node->named.empty()) {
      return Unexpected("a named argument");
    } else {
      HEADWISE_ASSIGN_OR_RETURN(ExpressionPtr argument, ParseExpression());
      node->operands.push_back(std::move(argument));
    }
  }
  return ExpectOperator(")");
}

}  // namespace headwise::jinja
