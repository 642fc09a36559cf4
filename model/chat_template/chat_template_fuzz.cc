// Renders hostile templates: the variables are the JSON before the first zero
// byte of the input, the template is what follows it.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "base/check.h"
#include "model/chat_template/interpreter.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_text.h"
#include "nlohmann/json.hpp"

namespace headwise::jinja {
namespace {

absl::StatusOr<std::string> Render(const Statements& body,
                                   const nlohmann::ordered_json& variables) {
  Budget budget;
  absl::StatusOr<Value> values = ValueFromJson(variables, budget);
  if (!values.ok()) return values.status();
  return Interpreter(absl::UnixEpoch()).Run(body, *values, budget);
}

void CheckIsExpected(const absl::Status& status) {
  HEADWISE_CHECK(absl::IsInvalidArgument(status) ||
                 absl::IsUnimplemented(status) ||
                 absl::IsResourceExhausted(status));
}

void RunOne(absl::string_view input) {
  const size_t zero = std::min(input.find('\0'), input.size());
  const absl::string_view json = input.substr(0, zero);
  auto variables = nlohmann::ordered_json::parse(
      json.begin(), json.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!variables.is_object()) variables = nlohmann::ordered_json::object();
  const absl::StatusOr<Statements> body =
      Parse(input.substr(std::min(zero + 1, input.size())));
  if (!body.ok()) return CheckIsExpected(body.status());
  const absl::StatusOr<std::string> text = Render(*body, variables);
  if (!text.ok()) return CheckIsExpected(text.status());
  HEADWISE_CHECK(static_cast<int64_t>(text->size()) <= kMaxTextBytes);
  HEADWISE_CHECK(!FindInvalidUtf8(*text).has_value());
  HEADWISE_CHECK(*Render(*body, variables) == *text);
}

}  // namespace
}  // namespace headwise::jinja

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  headwise::jinja::RunOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
