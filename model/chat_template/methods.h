// Methods of strings, lists and dicts.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_METHODS_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_METHODS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/arguments.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

enum class MethodSupport {
  kNone,  // Python has no such attribute either
  kImplemented,
  kMissing,  // Python has it; we don't
  kUnsafe,   // the sandbox of chat templates forbids it
};
MethodSupport FindMethod(const Value& self, absl::string_view name);

// Requires FindMethod(self, name) == kImplemented.
absl::StatusOr<Value> CallMethod(const Value& self, absl::string_view name,
                                 const CallArguments& arguments,
                                 Budget& budget);

// One implementation, and what it is called with.
struct MethodCall {
  const Value& self;
  const BoundArguments& arguments;
  const CallArguments& unbound;
  Budget& budget;
};
struct Method {
  Signature signature;
  absl::StatusOr<Value> (*function)(const MethodCall& call);
  bool is_variadic = false;  // reads `unbound`; `arguments` is empty
};

// Each nullptr if there is no such method: string_methods.cc,
// string_search_methods.cc, container_methods.cc.
const Method* FindStringMethod(absl::string_view name);
const Method* FindStringSearchMethod(absl::string_view name);
const Method* FindDictMethod(absl::string_view name);
const Method* FindSequenceMethod(absl::string_view name);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_METHODS_H_
