// Methods of dicts, lists and tuples that change nothing.

#include "base/status_macros.h"
#include "model/chat_template/methods.h"
#include "model/chat_template/value_sort.h"

namespace headwise::jinja {
namespace {

absl::StatusOr<Value> Get(const MethodCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(
      const Value* found,
      call.self.dict().Find(call.arguments.Get(0), call.budget));
  if (found != nullptr) return *found;
  const Value* otherwise = call.arguments.Find(1);
  return otherwise == nullptr ? Value::None() : *otherwise;
}

absl::StatusOr<Value> Items(const MethodCall& call) {
  std::vector<Value> items;
  for (const auto& [key, value] : call.self.dict().entries()) {
    HEADWISE_ASSIGN_OR_RETURN(
        Value pair,
        MakeSequence(SequenceType::kTuple, {key, value}, call.budget));
    items.push_back(std::move(pair));
  }
  return MakeSequence(SequenceType::kView, std::move(items), call.budget);
}

absl::StatusOr<Value> Keys(const MethodCall& call) {
  std::vector<Value> keys;
  for (const auto& [key, unused] : call.self.dict().entries()) {
    keys.push_back(key);
  }
  return MakeSequence(SequenceType::kView, std::move(keys), call.budget);
}

absl::StatusOr<Value> Values(const MethodCall& call) {
  std::vector<Value> values;
  for (const auto& [unused, value] : call.self.dict().entries()) {
    values.push_back(value);
  }
  return MakeSequence(SequenceType::kView, std::move(values), call.budget);
}

absl::StatusOr<Value> Copy(const MethodCall& call) { return call.self; }

absl::StatusOr<Value> Index(const MethodCall& call) {
  const std::vector<Value>& items = call.self.sequence().items;
  for (size_t i = 0; i < items.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(
        const bool equal, Equals(items[i], call.arguments.Get(0), call.budget));
    if (equal) return Value::Int(static_cast<int64_t>(i));
  }
  return absl::InvalidArgumentError("index: the value is not in the list");
}

absl::StatusOr<Value> Count(const MethodCall& call) {
  int64_t count = 0;
  for (const Value& item : call.self.sequence().items) {
    HEADWISE_ASSIGN_OR_RETURN(const bool equal,
                              Equals(item, call.arguments.Get(0), call.budget));
    if (equal) ++count;
  }
  return Value::Int(count);
}

constexpr Method kDictMethods[] = {
    {{.name = "get", .num_required = 1, .parameters = {"key", "default"}}, Get},
    {{.name = "items"}, Items},
    {{.name = "keys"}, Keys},
    {{.name = "values"}, Values},
    {{.name = "copy"}, Copy},
};

constexpr Method kSequenceMethods[] = {
    {{.name = "index", .num_required = 1, .parameters = {"value"}}, Index},
    {{.name = "count", .num_required = 1, .parameters = {"value"}}, Count},
    {{.name = "copy"}, Copy},
};

}  // namespace

const Method* FindDictMethod(absl::string_view name) {
  for (const Method& method : kDictMethods) {
    if (method.signature.name == name) return &method;
  }
  return nullptr;
}

const Method* FindSequenceMethod(absl::string_view name) {
  for (const Method& method : kSequenceMethods) {
    if (method.signature.name == name) return &method;
  }
  return nullptr;
}

}  // namespace headwise::jinja
