// Renders a model's own Jinja chat template.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_CHAT_TEMPLATE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace headwise {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

// Immutable after Parse, hence safe to share between threads. Bounded: source
// size, nesting, loop iterations, steps and output size have limits, so that a
// hostile template ends in an error.
class ChatTemplate {
 public:
  // InvalidArgument with line and column for a syntax error; Unimplemented for
  // a construct that we do not have, which the message names.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Parse(
      absl::string_view source);
  virtual ~ChatTemplate() = default;

  // `variables` is a JSON object: messages, add_generation_prompt, bos_token,
  // eos_token, tools and whatever else the template reads. InvalidArgument if
  // the template calls raise_exception (its text), or uses a value in a way
  // that has no meaning; ResourceExhausted at a limit. Ordered, since templates
  // print tools and arguments in the order that they came in.
  virtual absl::StatusOr<std::string> RenderJson(
      const nlohmann::ordered_json& variables) const = 0;

  // The common call.
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages,
                                     bool add_generation_prompt,
                                     absl::string_view bos_token,
                                     absl::string_view eos_token) const;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_CHAT_TEMPLATE_H_
