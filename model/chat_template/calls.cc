// Calls: methods, functions that every template has, macros.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/globals.h"
#include "model/chat_template/interpreter.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/methods.h"

namespace headwise::jinja {

absl::StatusOr<Value> Interpreter::EvaluateCall(const Expression& node) {
  HEADWISE_ASSIGN_OR_RETURN(const Value callee, Evaluate(*node.operands[0]));
  HEADWISE_ASSIGN_OR_RETURN(const CallArguments arguments,
                            EvaluateArguments(node));
  switch (callee.kind()) {
    case Value::Kind::kMethod: {
      const BoundMethod& method = callee.method();
      if (method.self.Is(Value::Kind::kLoop)) {
        return LoopCycle(method.self.loop(), arguments);
      }
      return CallMethod(method.self, method.name, arguments, *budget_);
    }
    case Value::Kind::kFunction:
      return CallFunction(callee.function(), arguments);
    case Value::Kind::kMacro:
      return CallMacro(callee.macro(), arguments);
    case Value::Kind::kLoop:
      return absl::UnimplementedError("recursive loops");
    case Value::Kind::kUndefined:
      return UndefinedError(callee);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("'", TypeName(callee), "' object is not callable"));
  }
}

absl::StatusOr<Value> Interpreter::CallFunction(
    GlobalFunction function, const CallArguments& arguments) {
  switch (function) {
    case GlobalFunction::kRaiseException:
      return RaiseException(arguments, *budget_);
    case GlobalFunction::kRange:
      return Range(arguments, *budget_);
    case GlobalFunction::kStrftimeNow:
      return StrftimeNow(arguments, now_, *budget_);
    case GlobalFunction::kNamespace:
      return NewNamespace(arguments);
    case GlobalFunction::kDict: {
      HEADWISE_ASSIGN_OR_RETURN(Dict dict, DictFromArguments(arguments));
      return MakeDict(std::move(dict), *budget_);
    }
    case GlobalFunction::kJoiner:
    case GlobalFunction::kCycler:
    case GlobalFunction::kLipsum:
      break;
  }
  return absl::UnimplementedError(
      absl::StrCat("function '", GlobalName(function), "'"));
}

// What dict(...) and namespace(...) take: a mapping or pairs, and names.
absl::StatusOr<Dict> Interpreter::DictFromArguments(
    const CallArguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("dict takes at most one unnamed argument, got ",
                     arguments.positional.size()));
  }
  for (const Value& base : arguments.positional) {
    if (base.Is(Value::Kind::kDict)) {
      HEADWISE_RETURN_IF_ERROR(base.dict().SpendCopy(*budget_));
      dict = base.dict();
      continue;
    }
    HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> pairs,
                              Elements(base, *budget_));
    for (const Value& pair : pairs) {
      HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> parts,
                                Elements(pair, *budget_));
      if (parts.size() != 2) {
        return absl::InvalidArgumentError(
            absl::StrCat("dict needs pairs, got ", parts.size(), " elements"));
      }
      HEADWISE_RETURN_IF_ERROR(dict.Set(parts[0], parts[1], *budget_));
    }
  }
  for (const auto& [name, value] : arguments.named) {
    HEADWISE_RETURN_IF_ERROR(
        budget_->SpendBytes(static_cast<int64_t>(name.size())));
    dict.SetString(name, value);
  }
  return dict;
}

absl::StatusOr<Value> Interpreter::NewNamespace(
    const CallArguments& arguments) {
  HEADWISE_ASSIGN_OR_RETURN(const Dict dict, DictFromArguments(arguments));
  HEADWISE_RETURN_IF_ERROR(budget_->Spend(kStepsPerObject));
  auto created = std::make_unique<Namespace>();
  for (const auto& [key, value] : dict.entries()) {
    if (!key.Is(Value::Kind::kString)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a namespace's names must be strings, not ", TypeName(key)));
    }
    HEADWISE_RETURN_IF_ERROR(
        budget_->SpendBytes(static_cast<int64_t>(key.string().size())));
    created->attributes[key.string()] = value;
  }
  namespaces_.push_back(std::move(created));
  return Value::Of(namespaces_.back().get());
}

absl::Status Interpreter::BindParameters(const Macro& macro,
                                         const CallArguments& arguments) {
  const std::vector<Parameter>& parameters = macro.definition->parameters;
  const std::string& name = macro.definition->text;
  if (arguments.positional.size() > parameters.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("macro '", name, "' takes at most ", parameters.size(),
                     " arguments, got ", arguments.positional.size()));
  }
  std::vector<const Value*> given(parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    given[i] = &arguments.positional[i];
  }
  for (const auto& [argument, value] : arguments.named) {
    size_t i = 0;
    while (i < parameters.size() && parameters[i].name != argument) ++i;
    if (i == parameters.size() || given[i] != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "macro '", name, "' has no use for an argument '", argument, "'"));
    }
    given[i] = &value;
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Value value = Value::Undefined(
        absl::StrCat("parameter '", parameter.name, "' was not provided"));
    if (given[i] != nullptr) {
      value = *given[i];
    } else if (parameter.default_value != nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(value, Evaluate(*parameter.default_value));
    }
    scope_->Set(parameter.name, std::move(value));
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::CallMacro(const Macro& macro,
                                             const CallArguments& arguments) {
  const DepthGuard guard(&macro_depth_);
  if (macro_depth_ > kMaxMacroDepth) {
    return absl::ResourceExhaustedError(
        absl::StrCat("macro '", macro.definition->text,
                     "' calls nested deeper than ", kMaxMacroDepth));
  }
  const ScopeGuard scope(this, macro.scope);
  HEADWISE_RETURN_IF_ERROR(BindParameters(macro, arguments));
  Value text;
  HEADWISE_RETURN_IF_ERROR(Capture(macro.definition->body, &text).status());
  return text;
}

}  // namespace headwise::jinja
