#include "model/chat_template/scope.h"

namespace headwise::jinja {

const Value* Scope::Find(absl::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    const auto found = scope->values_.find(name);
    if (found != scope->values_.end()) return &found->second;
  }
  return nullptr;
}

void Scope::Capture() {
  for (Scope* scope = this; scope != nullptr && !scope->is_captured_;
       scope = scope->parent_) {
    scope->is_captured_ = true;
  }
}

}  // namespace headwise::jinja
