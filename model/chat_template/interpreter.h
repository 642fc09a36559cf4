// Runs a syntax tree.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_INTERPRETER_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_INTERPRETER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/chat_template/arguments.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/loop_state.h"
#include "model/chat_template/namespace.h"
#include "model/chat_template/scope.h"
#include "model/chat_template/syntax_tree.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

// One rendering; used once, by one thread. Owns whatever a template can make
// that changes or is pointed at: namespaces, loops, macros, captured scopes.
class Interpreter {
 public:
  // What strftime_now() tells, in UTC.
  explicit Interpreter(absl::Time now) : now_(now) {}

  // `body` must outlive the call. `variables` is a dict.
  absl::StatusOr<std::string> Run(const Statements& body,
                                  const Value& variables, Budget& budget);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // statements.cc
  absl::StatusOr<Flow> ExecuteBody(const Statements& body);
  absl::StatusOr<Flow> Execute(const Statement& statement);
  absl::Status Output(const Statement& statement);
  absl::StatusOr<Flow> ExecuteIf(const Statement& statement);
  absl::StatusOr<Flow> ExecuteFor(const Statement& statement);
  absl::StatusOr<std::vector<Value>> LoopItems(const Statement& statement);
  absl::StatusOr<Flow> ExecuteLoop(const Statement& statement, LoopState* loop);
  absl::StatusOr<Flow> ExecuteIteration(const Statement& statement,
                                        LoopState* loop);
  absl::StatusOr<Flow> ExecuteInScope(const Statements& body);
  absl::StatusOr<Flow> ExecuteSetBlock(const Statement& statement);
  absl::StatusOr<Flow> ExecuteFilterBlock(const Statement& statement);
  absl::StatusOr<Flow> ExecuteWith(const Statement& statement);
  absl::Status DefineMacro(const Statement& statement);
  absl::Status Assign(const Target& target, const Value& value);
  absl::Status AssignElements(const Target& target, const Value& value);
  // Runs `body` in a scope of its own; what it prints becomes `*text`.
  absl::StatusOr<Flow> Capture(const Statements& body, Value* text);

  // expressions.cc
  absl::StatusOr<Value> Evaluate(const Expression& node);
  absl::StatusOr<Value> EvaluateKind(const Expression& node);
  absl::StatusOr<Value> EvaluateName(const Expression& node);
  absl::StatusOr<Value> EvaluateSequence(const Expression& node);
  absl::StatusOr<Value> EvaluateDict(const Expression& node);
  absl::StatusOr<Value> EvaluateItem(const Expression& node);
  absl::StatusOr<Value> EvaluateSlice(const Expression& node);
  absl::StatusOr<Value> EvaluateUnary(const Expression& node);
  absl::StatusOr<Value> EvaluateArithmetic(const Expression& node);
  absl::StatusOr<Value> EvaluateConcat(const Expression& node);
  absl::StatusOr<Value> EvaluateComparison(const Expression& node);
  absl::StatusOr<Value> EvaluateLogic(const Expression& node);
  absl::StatusOr<Value> EvaluateConditional(const Expression& node);
  absl::StatusOr<Value> EvaluateFilter(const Expression& node);
  absl::StatusOr<Value> EvaluateTest(const Expression& node);
  absl::StatusOr<bool> EvaluateTruth(const Expression& node);
  // The operands from the second on, and the named ones.
  absl::StatusOr<CallArguments> EvaluateArguments(const Expression& node);

  // calls.cc
  absl::StatusOr<Value> EvaluateCall(const Expression& node);
  absl::StatusOr<Value> CallFunction(GlobalFunction function,
                                     const CallArguments& arguments);
  absl::StatusOr<Value> CallMacro(const Macro& macro,
                                  const CallArguments& arguments);
  absl::Status BindParameters(const Macro& macro,
                              const CallArguments& arguments);
  absl::StatusOr<Value> NewNamespace(const CallArguments& arguments);
  absl::StatusOr<Dict> DictFromArguments(const CallArguments& arguments);

  // Opens a scope inside of `parent`, and closes it again.
  class ScopeGuard {
   public:
    ScopeGuard(Interpreter* interpreter, Scope* parent);
    ~ScopeGuard();
    ScopeGuard(const ScopeGuard&) = delete;
    ScopeGuard& operator=(const ScopeGuard&) = delete;

   private:
    Interpreter* interpreter_;
    Scope* outer_;
    std::unique_ptr<Scope> scope_;
  };
  // Counts one level of recursion as long as it lives.
  class DepthGuard {
   public:
    explicit DepthGuard(int* depth) : depth_(depth) { ++*depth_; }
    ~DepthGuard() { --*depth_; }
    DepthGuard(const DepthGuard&) = delete;
    DepthGuard& operator=(const DepthGuard&) = delete;

   private:
    int* depth_;
  };
  absl::Status CheckDepth() const;

  const absl::Time now_;
  Budget* budget_ = nullptr;
  Value variables_;
  BoundedText* out_ = nullptr;      // of the innermost block that captures
  Scope* scope_ = nullptr;          // innermost
  std::vector<Value> block_texts_;  // inputs of filter blocks in progress
  int depth_ = 0;
  int macro_depth_ = 0;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::vector<std::unique_ptr<LoopState>> loops_;
  std::vector<std::unique_ptr<Macro>> macros_;
  std::vector<std::unique_ptr<Scope>> captured_scopes_;
};

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_INTERPRETER_H_
