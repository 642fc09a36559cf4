#include "model/chat_template/chat_template.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "model/chat_template/interpreter.h"
#include "model/chat_template/position.h"
#include "model/chat_template/syntax_tree.h"
#include "model/chat_template/value_text.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

class JinjaTemplate final : public ChatTemplate {
 public:
  explicit JinjaTemplate(jinja::Statements body) : body_(std::move(body)) {}

  absl::StatusOr<std::string> RenderJson(
      const nlohmann::ordered_json& variables) const override {
    if (!variables.is_object()) {
      return absl::InvalidArgumentError(
          "the variables of a chat template must be a JSON object");
    }
    jinja::Budget budget;
    HEADWISE_ASSIGN_OR_RETURN(const jinja::Value values,
                              jinja::ValueFromJson(variables, budget));
    jinja::Interpreter interpreter(absl::Now());
    absl::StatusOr<std::string> text = interpreter.Run(body_, values, budget);
    if (!text.ok()) return jinja::Unmarked(text.status());
    return text;
  }

 private:
  const jinja::Statements body_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(
    absl::string_view source) {
  absl::StatusOr<jinja::Statements> body = jinja::Parse(source);
  if (!body.ok()) return jinja::Unmarked(body.status());
  return std::make_unique<JinjaTemplate>(*std::move(body));
}

absl::StatusOr<std::string> ChatTemplate::Render(
    const std::vector<ChatMessage>& messages, bool add_generation_prompt,
    absl::string_view bos_token, absl::string_view eos_token) const {
  nlohmann::ordered_json variables;
  variables["messages"] = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) {
    variables["messages"].push_back(
        {{"role", message.role}, {"content", message.content}});
  }
  variables["add_generation_prompt"] = add_generation_prompt;
  variables["bos_token"] = std::string(bos_token);
  variables["eos_token"] = std::string(eos_token);
  return RenderJson(variables);
}

}  // namespace headwise
