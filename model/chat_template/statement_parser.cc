// Text, tags and their bodies.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/parser.h"

namespace headwise::jinja {

absl::StatusOr<Statements> Parser::ParseTemplate() {
  HEADWISE_ASSIGN_OR_RETURN(Statements body, ParseBody({}));
  if (Peek().type != TokenType::kEnd) return Unexpected("end of template");
  return body;
}

absl::StatusOr<Statements> Parser::ParseBody(EndTags end_tags) {
  const Level level(this);
  HEADWISE_RETURN_IF_ERROR(level.Check());
  Statements body;
  while (Peek().type != TokenType::kEnd) {
    if (Peek().type == TokenType::kText) {
      Statement statement;
      statement.kind = StatementKind::kText;
      statement.position = Peek().position;
      statement.text = Take().text;
      body.push_back(std::move(statement));
      continue;
    }
    if (Peek().type == TokenType::kVariableBegin) {
      HEADWISE_ASSIGN_OR_RETURN(Statement output, ParseOutput());
      body.push_back(std::move(output));
      continue;
    }
    // Text, output and block tags are all that the lexer yields at this level.
    Take();
    if (Peek().type == TokenType::kName &&
        std::find(end_tags.begin(), end_tags.end(), Peek().text) !=
            end_tags.end()) {
      return body;
    }
    HEADWISE_ASSIGN_OR_RETURN(Statement statement, ParseBlockTag());
    body.push_back(std::move(statement));
  }
  if (end_tags.size() == 0) return body;
  return Unexpected(absl::StrCat("'{% ", *(end_tags.end() - 1), " %}'"));
}

absl::StatusOr<Statement> Parser::ParseOutput() {
  Statement output;
  output.kind = StatementKind::kOutput;
  Take();
  output.position = Peek().position;
  HEADWISE_ASSIGN_OR_RETURN(output.value, ParseTuple(/*allow_conditional=*/true,
                                                     /*allow_empty=*/false));
  if (Peek().type != TokenType::kVariableEnd) return Unexpected("'}}'");
  Take();
  return output;
}

absl::StatusOr<Statement> Parser::ParseBlockTag() {
  if (AtName("if")) return ParseIf();
  if (AtName("for")) return ParseFor();
  if (AtName("set")) return ParseSet();
  if (AtName("macro")) return ParseMacro();
  if (AtName("filter")) return ParseFilterBlock();
  if (AtName("with")) return ParseWith();
  if (AtName("generation")) return ParseGeneration();
  if (AtName("break") || AtName("continue")) return ParseLoopControl();
  const std::string& name = Peek().text;
  if (Peek().type != TokenType::kName || absl::StartsWith(name, "end") ||
      name == "elif" || name == "else") {
    return Unexpected("the name of a statement");
  }
  return At(Peek().position,
            absl::UnimplementedError(absl::StrCat("statement '", name, "'")));
}

absl::Status Parser::ExpectBlockEnd() {
  SkipOperator(":");  // allowed as in Python
  if (Peek().type != TokenType::kBlockEnd) return Unexpected("'%}'");
  Take();
  return absl::OkStatus();
}

absl::Status Parser::ParseBlockBody(absl::string_view end_tag,
                                    Statements* body) {
  HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
  HEADWISE_ASSIGN_OR_RETURN(*body, ParseBody({end_tag}));
  Take();
  return ExpectBlockEnd();
}

absl::StatusOr<Statement> Parser::ParseIf() {
  Statement node;
  node.kind = StatementKind::kIf;
  node.position = Peek().position;
  while (true) {
    const bool is_else = AtName("else");
    Take();  // if, elif, else
    Branch branch;
    if (!is_else) {
      HEADWISE_ASSIGN_OR_RETURN(
          branch.condition,
          ParseTuple(/*allow_conditional=*/false, /*allow_empty=*/false));
    }
    HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
    if (is_else) {
      HEADWISE_ASSIGN_OR_RETURN(branch.body, ParseBody({"endif"}));
    } else {
      HEADWISE_ASSIGN_OR_RETURN(branch.body,
                                ParseBody({"elif", "else", "endif"}));
    }
    node.branches.push_back(std::move(branch));
    if (SkipName("endif")) break;
  }
  HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
  return node;
}

absl::StatusOr<Statement> Parser::ParseFor() {
  Statement node;
  node.kind = StatementKind::kFor;
  node.position = Take().position;
  HEADWISE_ASSIGN_OR_RETURN(node.target, ParseTarget(false));
  if (!SkipName("in")) return Unexpected("'in'");
  HEADWISE_ASSIGN_OR_RETURN(node.value, ParseTuple(/*allow_conditional=*/false,
                                                   /*allow_empty=*/false));
  if (SkipName("if")) {
    HEADWISE_ASSIGN_OR_RETURN(node.condition, ParseExpression());
  }
  if (AtName("recursive")) {
    return At(Peek().position, absl::UnimplementedError("recursive loops"));
  }
  HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
  ++num_open_loops_;
  HEADWISE_ASSIGN_OR_RETURN(node.body, ParseBody({"else", "endfor"}));
  --num_open_loops_;
  if (SkipName("else")) {
    HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
    HEADWISE_ASSIGN_OR_RETURN(node.else_body, ParseBody({"endfor"}));
  }
  Take();
  HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
  return node;
}

absl::StatusOr<Statement> Parser::ParseSet() {
  Statement node;
  node.kind = StatementKind::kSet;
  node.position = Take().position;
  HEADWISE_ASSIGN_OR_RETURN(node.target, ParseTarget(true));
  if (SkipOperator("=")) {
    HEADWISE_ASSIGN_OR_RETURN(node.value, ParseTuple(/*allow_conditional=*/true,
                                                     /*allow_empty=*/false));
    HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
    return node;
  }
  node.kind = StatementKind::kSetBlock;
  while (SkipOperator("|")) {
    HEADWISE_ASSIGN_OR_RETURN(node.value, ParseFilter(std::move(node.value)));
  }
  HEADWISE_RETURN_IF_ERROR(ParseBlockBody("endset", &node.body));
  return node;
}

absl::StatusOr<Statement> Parser::ParseMacro() {
  Statement node;
  node.kind = StatementKind::kMacro;
  node.position = Take().position;
  HEADWISE_ASSIGN_OR_RETURN(node.text, ExpectName());
  const std::vector<Parameter>* const outer_parameters = macro_parameters_;
  const int num_outer_loops = num_open_loops_;
  macro_parameters_ = &node.parameters;
  num_open_loops_ = 0;
  HEADWISE_RETURN_IF_ERROR(ParseParameters(&node));
  HEADWISE_RETURN_IF_ERROR(ParseBlockBody("endmacro", &node.body));
  macro_parameters_ = outer_parameters;
  num_open_loops_ = num_outer_loops;
  return node;
}

absl::Status Parser::ParseParameters(Statement* macro) {
  HEADWISE_RETURN_IF_ERROR(ExpectOperator("("));
  while (!AtOperator(")")) {
    if (!macro->parameters.empty()) {
      HEADWISE_RETURN_IF_ERROR(ExpectOperator(","));
    }
    if (macro->parameters.size() == kMaxMacroParameters) {
      return At(Peek().position, absl::ResourceExhaustedError(absl::StrCat(
                                     "macro '", macro->text, "' has more than ",
                                     kMaxMacroParameters, " parameters")));
    }
    Parameter parameter;
    HEADWISE_ASSIGN_OR_RETURN(parameter.name, ExpectName());
    if (SkipOperator("=")) {
      HEADWISE_ASSIGN_OR_RETURN(parameter.default_value, ParseExpression());
    } else if (!macro->parameters.empty() &&
               macro->parameters.back().default_value != nullptr) {
      return Unexpected("a default, as the parameter before has one");
    }
    macro->parameters.push_back(std::move(parameter));
  }
  return ExpectOperator(")");
}

absl::StatusOr<Statement> Parser::ParseFilterBlock() {
  Statement node;
  node.kind = StatementKind::kFilter;
  node.position = Take().position;
  do {
    HEADWISE_ASSIGN_OR_RETURN(node.value, ParseFilter(std::move(node.value)));
  } while (SkipOperator("|"));
  HEADWISE_RETURN_IF_ERROR(ParseBlockBody("endfilter", &node.body));
  return node;
}

absl::StatusOr<Statement> Parser::ParseWith() {
  Statement node;
  node.kind = StatementKind::kWith;
  node.position = Take().position;
  while (Peek().type == TokenType::kName) {
    Assignment assignment;
    HEADWISE_ASSIGN_OR_RETURN(assignment.target, ParseOneTarget(false));
    HEADWISE_RETURN_IF_ERROR(ExpectOperator("="));
    HEADWISE_ASSIGN_OR_RETURN(assignment.value, ParseExpression());
    node.assignments.push_back(std::move(assignment));
    if (!SkipOperator(",")) break;
  }
  HEADWISE_RETURN_IF_ERROR(ParseBlockBody("endwith", &node.body));
  return node;
}

// Marks what the assistant wrote, for training; rendering prints it as it is.
absl::StatusOr<Statement> Parser::ParseGeneration() {
  Statement node;
  node.kind = StatementKind::kGeneration;
  node.position = Take().position;
  const int num_outer_loops = num_open_loops_;
  num_open_loops_ = 0;  // Jinja compiles the body to a function of its own
  HEADWISE_RETURN_IF_ERROR(ParseBlockBody("endgeneration", &node.body));
  num_open_loops_ = num_outer_loops;
  return node;
}

absl::StatusOr<Statement> Parser::ParseLoopControl() {
  Statement node;
  node.kind =
      AtName("break") ? StatementKind::kBreak : StatementKind::kContinue;
  node.position = Peek().position;
  if (num_open_loops_ == 0) return Unexpected("a loop around it");
  Take();
  HEADWISE_RETURN_IF_ERROR(ExpectBlockEnd());
  return node;
}

absl::StatusOr<Target> Parser::ParseTarget(bool allow_attribute) {
  Target tuple;
  tuple.position = Peek().position;
  bool has_comma = false;
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(Target target, ParseOneTarget(allow_attribute));
    tuple.elements.push_back(std::move(target));
    if (!SkipOperator(",")) break;
    has_comma = true;
    if (AtOperator("=") || AtOperator(")") || AtName("in")) break;
  }
  if (has_comma) return tuple;
  Target single = std::move(tuple.elements[0]);
  return single;
}

absl::StatusOr<Target> Parser::ParseOneTarget(bool allow_attribute) {
  const Level level(this);
  HEADWISE_RETURN_IF_ERROR(level.Check());
  if (SkipOperator("(")) {
    HEADWISE_ASSIGN_OR_RETURN(Target target, ParseTarget(false));
    HEADWISE_RETURN_IF_ERROR(ExpectOperator(")"));
    return target;
  }
  Target target;
  target.position = Peek().position;
  HEADWISE_ASSIGN_OR_RETURN(target.name, ExpectName());
  for (const absl::string_view constant :
       {"true", "True", "false", "False", "none", "None"}) {
    if (target.name == constant) {
      return At(target.position, absl::InvalidArgumentError(absl::StrCat(
                                     "can't assign to '", constant, "'")));
    }
  }
  if (allow_attribute && SkipOperator(".")) {
    HEADWISE_ASSIGN_OR_RETURN(target.attribute, ExpectName());
  }
  return target;
}

absl::StatusOr<Statements> Parse(absl::string_view source) {
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).ParseTemplate();
}

}  // namespace headwise::jinja
