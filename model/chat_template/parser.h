// Tokens to a syntax tree, by recursive descent. Follows the grammar of Jinja2
// 3.1 (jinja2/parser.py), whose function names are kept where they fit.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_PARSER_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_PARSER_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/syntax_tree.h"

namespace headwise::jinja {

class Parser {
 public:
  // `tokens` end with kEnd.
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<Statements> ParseTemplate();

 private:
  using EndTags = std::initializer_list<absl::string_view>;

  // statement_parser.cc. Bodies end before the name of one of `end_tags`.
  absl::StatusOr<Statements> ParseBody(EndTags end_tags);
  absl::StatusOr<Statement> ParseOutput();
  absl::StatusOr<Statement> ParseBlockTag();
  absl::StatusOr<Statement> ParseIf();
  absl::StatusOr<Statement> ParseFor();
  absl::StatusOr<Statement> ParseSet();
  absl::StatusOr<Statement> ParseMacro();
  absl::StatusOr<Statement> ParseFilterBlock();
  absl::StatusOr<Statement> ParseWith();
  absl::StatusOr<Statement> ParseGeneration();
  absl::StatusOr<Statement> ParseLoopControl();
  absl::Status ParseParameters(Statement* macro);
  absl::StatusOr<Target> ParseTarget(bool allow_attribute);
  absl::StatusOr<Target> ParseOneTarget(bool allow_attribute);
  // The rest of a tag that opens a body, the body, and its end tag whole.
  absl::Status ParseBlockBody(absl::string_view end_tag, Statements* body);
  absl::Status ExpectBlockEnd();

  // expression_parser.cc, loosest binding first.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool allow_conditional,
                                           bool allow_empty);
  absl::StatusOr<ExpressionPtr> ParseExpression();
  absl::StatusOr<ExpressionPtr> ParseConditional();
  absl::StatusOr<ExpressionPtr> ParseOr();
  absl::StatusOr<ExpressionPtr> ParseAnd();
  absl::StatusOr<ExpressionPtr> ParseNot();
  absl::StatusOr<ExpressionPtr> ParseComparison();
  absl::StatusOr<ExpressionPtr> ParseConcat();
  absl::StatusOr<ExpressionPtr> ParseArithmetic(int level);
  absl::StatusOr<ExpressionPtr> ParseUnary(bool allow_filter);

  // primary_parser.cc: what stands at the tips, and what follows it.
  absl::StatusOr<ExpressionPtr> ParsePrimary();
  absl::StatusOr<ExpressionPtr> ParseName();
  absl::StatusOr<ExpressionPtr> ParseNumber();
  absl::StatusOr<ExpressionPtr> ParseList();
  absl::StatusOr<ExpressionPtr> ParseDict();
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseFiltersAndTests(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseAttribute(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseSubscript(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseCall(ExpressionPtr node);
  // After the '|'. `input` nullptr: the text of a filter block.
  absl::StatusOr<ExpressionPtr> ParseFilter(ExpressionPtr input);
  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr input);
  // From '(' to ')', appended to `node`.
  absl::Status ParseArguments(Expression* node);

  // The current token, and the one after it.
  const Token& Peek() const { return tokens_[next_]; }
  const Token& PeekSecond() const;
  bool AtOperator(absl::string_view text) const;
  bool AtName(absl::string_view text) const;
  // Each steps over the current token if it is that one.
  bool SkipOperator(absl::string_view text);
  bool SkipName(absl::string_view text);
  Token Take();  // stays at kEnd
  absl::Status ExpectOperator(absl::string_view text);
  absl::StatusOr<std::string> ExpectName();
  // InvalidArgument at the current token, which it names.
  absl::Status Unexpected(absl::string_view wanted) const;

  static ExpressionPtr NewExpression(ExpressionKind kind, Position position);
  // Sets the depth and refuses one above kMaxNesting.
  static absl::StatusOr<ExpressionPtr> Finish(ExpressionPtr node);

  // Lives as long as one level of recursion.
  class Level {
   public:
    explicit Level(Parser* parser) : parser_(parser) { ++parser_->nesting_; }
    ~Level() { --parser_->nesting_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    absl::Status Check() const;

   private:
    Parser* parser_;
  };

  const std::vector<Token> tokens_;
  size_t next_ = 0;
  int nesting_ = 0;
  int num_open_loops_ = 0;  // of the innermost macro, for break and continue
  // Parameter names of the innermost macro; nullptr outside of macros.
  const std::vector<Parameter>* macro_parameters_ = nullptr;
};

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_PARSER_H_
