// What {% set ns = namespace() %} makes: attributes that a loop may change.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_NAMESPACE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_NAMESPACE_H_

#include <map>
#include <string>

#include "model/chat_template/value.h"

namespace headwise::jinja {

// Owned by its rendering.
struct Namespace {
  std::map<std::string, Value, std::less<>> attributes;
};

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_NAMESPACE_H_
