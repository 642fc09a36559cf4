// Names that a template has set, by nested scopes.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_SCOPE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_SCOPE_H_

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/syntax_tree.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

// Loops, macros and blocks open one each; if does not. Owned by its rendering.
class Scope {
 public:
  // `parent`, where there is one, must outlive this.
  explicit Scope(Scope* parent) : parent_(parent) {}

  // `name` must outlive this: it belongs to the syntax tree.
  void Set(absl::string_view name, Value value) {
    values_[name] = std::move(value);
  }
  // Here or in a scope around; nullptr if there is none.
  const Value* Find(absl::string_view name) const;

  // A macro keeps the scope that it was defined in, and those around.
  void Capture();
  bool is_captured() const { return is_captured_; }
  Scope* parent() const { return parent_; }

 private:
  Scope* const parent_;
  absl::flat_hash_map<absl::string_view, Value> values_;
  bool is_captured_ = false;
};

// What {% macro %} makes. Owned by its rendering.
struct Macro {
  const Statement* definition = nullptr;
  Scope* scope = nullptr;
};

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_SCOPE_H_
