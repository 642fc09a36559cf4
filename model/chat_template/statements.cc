// Statements: what prints, branches, loops and assigns.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/interpreter.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {

Interpreter::ScopeGuard::ScopeGuard(Interpreter* interpreter, Scope* parent)
    : interpreter_(interpreter),
      outer_(interpreter->scope_),
      scope_(std::make_unique<Scope>(parent)) {
  interpreter_->scope_ = scope_.get();
}

Interpreter::ScopeGuard::~ScopeGuard() {
  interpreter_->scope_ = outer_;
  if (scope_->is_captured()) {
    interpreter_->captured_scopes_.push_back(std::move(scope_));
  }
}

absl::StatusOr<std::string> Interpreter::Run(const Statements& body,
                                             const Value& variables,
                                             Budget& budget) {
  budget_ = &budget;
  variables_ = variables;
  BoundedText output;
  out_ = &output;
  const ScopeGuard scope(this, nullptr);
  HEADWISE_RETURN_IF_ERROR(ExecuteBody(body).status());
  return output.Take();
}

absl::Status Interpreter::CheckDepth() const {
  if (depth_ <= kMaxEvaluationDepth) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("evaluation nested deeper than ", kMaxEvaluationDepth));
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteBody(
    const Statements& body) {
  const DepthGuard guard(&depth_);
  for (const Statement& statement : body) {
    HEADWISE_RETURN_IF_ERROR(At(statement.position, CheckDepth()));
    HEADWISE_RETURN_IF_ERROR(At(statement.position, budget_->Spend(1)));
    absl::StatusOr<Flow> flow = Execute(statement);
    if (!flow.ok()) return At(statement.position, flow.status());
    if (*flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(
    const Statement& statement) {
  switch (statement.kind) {
    case StatementKind::kText:
    case StatementKind::kOutput:
      HEADWISE_RETURN_IF_ERROR(Output(statement));
      return Flow::kNext;
    case StatementKind::kIf:
      return ExecuteIf(statement);
    case StatementKind::kFor:
      return ExecuteFor(statement);
    case StatementKind::kSet: {
      HEADWISE_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.value));
      HEADWISE_RETURN_IF_ERROR(Assign(statement.target, value));
      return Flow::kNext;
    }
    case StatementKind::kSetBlock:
      return ExecuteSetBlock(statement);
    case StatementKind::kMacro:
      HEADWISE_RETURN_IF_ERROR(DefineMacro(statement));
      return Flow::kNext;
    case StatementKind::kFilter:
      return ExecuteFilterBlock(statement);
    case StatementKind::kWith:
      return ExecuteWith(statement);
    case StatementKind::kGeneration:
      return ExecuteInScope(statement.body);
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  HEADWISE_CHECK(false);
}

absl::Status Interpreter::Output(const Statement& statement) {
  const auto num_before = static_cast<int64_t>(out_->text().size());
  if (statement.kind == StatementKind::kText) {
    out_->Append(statement.text);
  } else {
    HEADWISE_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.value));
    HEADWISE_RETURN_IF_ERROR(AppendStr(value, out_));
  }
  HEADWISE_RETURN_IF_ERROR(out_->Check());
  return budget_->SpendBytes(static_cast<int64_t>(out_->text().size()) -
                             num_before);
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteIf(
    const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    bool is_taken = true;
    if (branch.condition != nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(is_taken, EvaluateTruth(*branch.condition));
    }
    if (is_taken) return ExecuteBody(branch.body);
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteInScope(
    const Statements& body) {
  const ScopeGuard scope(this, scope_);
  return ExecuteBody(body);
}

absl::StatusOr<std::vector<Value>> Interpreter::LoopItems(
    const Statement& statement) {
  HEADWISE_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*statement.value));
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            Elements(iterable, *budget_));
  if (statement.condition == nullptr) return items;
  std::vector<Value> kept;
  for (const Value& item : items) {
    const ScopeGuard scope(this, scope_);
    HEADWISE_RETURN_IF_ERROR(Assign(statement.target, item));
    HEADWISE_ASSIGN_OR_RETURN(const bool is_kept,
                              EvaluateTruth(*statement.condition));
    if (is_kept) kept.push_back(item);
  }
  return kept;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteFor(
    const Statement& statement) {
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items, LoopItems(statement));
  if (items.empty()) return ExecuteInScope(statement.else_body);
  loops_.push_back(std::make_unique<LoopState>());
  LoopState* const loop = loops_.back().get();
  loop->items = std::move(items);
  absl::StatusOr<Flow> flow = ExecuteLoop(statement, loop);
  loop->items.clear();
  loop->items.shrink_to_fit();
  loop->is_finished = true;
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteLoop(
    const Statement& statement, LoopState* loop) {
  for (; loop->index < loop->items.size(); ++loop->index) {
    HEADWISE_RETURN_IF_ERROR(budget_->SpendIteration());
    HEADWISE_ASSIGN_OR_RETURN(const Flow flow,
                              ExecuteIteration(statement, loop));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

// Each iteration has a scope of its own: what it sets, the next doesn't see.
absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteIteration(
    const Statement& statement, LoopState* loop) {
  const ScopeGuard scope(this, scope_);
  scope_->Set("loop", Value::Of(loop));
  HEADWISE_RETURN_IF_ERROR(Assign(statement.target, loop->items[loop->index]));
  return ExecuteBody(statement.body);
}

absl::StatusOr<Interpreter::Flow> Interpreter::Capture(const Statements& body,
                                                       Value* text) {
  BoundedText captured;
  BoundedText* const outer = out_;
  out_ = &captured;
  absl::StatusOr<Flow> flow = ExecuteInScope(body);
  out_ = outer;
  if (!flow.ok()) return flow;
  HEADWISE_ASSIGN_OR_RETURN(*text, MakeString(std::move(captured), *budget_));
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteSetBlock(
    const Statement& statement) {
  Value text;
  HEADWISE_ASSIGN_OR_RETURN(const Flow flow, Capture(statement.body, &text));
  if (flow != Flow::kNext) return flow;
  if (statement.value != nullptr) {
    block_texts_.push_back(text);
    absl::StatusOr<Value> filtered = Evaluate(*statement.value);
    block_texts_.pop_back();
    if (!filtered.ok()) return filtered.status();
    text = *std::move(filtered);
  }
  HEADWISE_RETURN_IF_ERROR(Assign(statement.target, text));
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteFilterBlock(
    const Statement& statement) {
  Value text;
  HEADWISE_ASSIGN_OR_RETURN(const Flow flow, Capture(statement.body, &text));
  if (flow != Flow::kNext) return flow;
  block_texts_.push_back(std::move(text));
  const absl::StatusOr<Value> filtered = Evaluate(*statement.value);
  block_texts_.pop_back();
  if (!filtered.ok()) return filtered.status();
  HEADWISE_RETURN_IF_ERROR(AppendStr(*filtered, out_));
  HEADWISE_RETURN_IF_ERROR(out_->Check());
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteWith(
    const Statement& statement) {
  // All values are of the scope around: none sees another of the same tag.
  std::vector<Value> values;
  for (const Assignment& assignment : statement.assignments) {
    HEADWISE_ASSIGN_OR_RETURN(Value value, Evaluate(*assignment.value));
    values.push_back(std::move(value));
  }
  const ScopeGuard scope(this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(
        Assign(statement.assignments[i].target, values[i]));
  }
  return ExecuteBody(statement.body);
}

// The scope, which is kept from here on, takes about 400 bytes.
absl::Status Interpreter::DefineMacro(const Statement& statement) {
  HEADWISE_RETURN_IF_ERROR(budget_->Spend(4 * kStepsPerObject));
  scope_->Capture();
  macros_.push_back(std::make_unique<Macro>(Macro{&statement, scope_}));
  scope_->Set(statement.text, Value::Of(macros_.back().get()));
  return absl::OkStatus();
}

absl::Status Interpreter::Assign(const Target& target, const Value& value) {
  if (target.name.empty()) return AssignElements(target, value);
  if (target.attribute.empty()) {
    scope_->Set(target.name, value);
    return absl::OkStatus();
  }
  const Value* owner = scope_->Find(target.name);
  if (owner == nullptr || !owner->Is(Value::Kind::kNamespace)) {
    return At(target.position,
              absl::InvalidArgumentError(absl::StrCat(
                  "cannot assign attribute '", target.attribute, "' of '",
                  target.name, "', which is no namespace")));
  }
  auto& attributes = owner->name_space().attributes;
  const auto found = attributes.find(target.attribute);
  if (found != attributes.end()) {
    found->second = value;
    return absl::OkStatus();
  }
  HEADWISE_RETURN_IF_ERROR(
      budget_->SpendBytes(static_cast<int64_t>(target.attribute.size())));
  attributes.emplace(target.attribute, value);
  return absl::OkStatus();
}

absl::Status Interpreter::AssignElements(const Target& target,
                                         const Value& value) {
  if (value.Is(Value::Kind::kUndefined)) {
    return At(target.position, UndefinedError(value));
  }
  const absl::StatusOr<std::vector<Value>> elements = Elements(value, *budget_);
  if (!elements.ok()) return At(target.position, elements.status());
  if (elements->size() != target.elements.size()) {
    return At(target.position,
              absl::InvalidArgumentError(absl::StrCat(
                  "cannot unpack ", elements->size(), " values to ",
                  target.elements.size(), " names")));
  }
  for (size_t i = 0; i < elements->size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(Assign(target.elements[i], (*elements)[i]));
  }
  return absl::OkStatus();
}

}  // namespace headwise::jinja
