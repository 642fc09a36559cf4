#include "server/frontends/chat_text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

std::string SpecialText(const Tokenizer& tokenizer, int32_t id) {
  return id < 0 ? std::string() : tokenizer.TokenBytes(id);
}

}  // namespace

absl::Status CheckMessages(
    const google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages) {
  if (messages.empty() || messages.size() > kMaxChatMessages) {
    return InvalidField("messages", absl::StrCat("has ", messages.size(),
                                                 " messages; must have 1 to ",
                                                 kMaxChatMessages));
  }
  static constexpr std::array<absl::string_view, 4> kRoles = {
      "system", "user", "assistant", "tool"};
  for (int i = 0; i < messages.size(); ++i) {
    if (std::find(kRoles.begin(), kRoles.end(), messages[i].role()) !=
        kRoles.end()) {
      continue;
    }
    return InvalidField(
        absl::StrCat("messages[", i, "].role"),
        absl::StrCat("is \"", messages[i].role().substr(0, 64),
                     "\"; must be system, user, assistant or tool"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> RenderMessages(
    const google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages,
    const ServedModel& model) {
  std::vector<ChatMessage> plain;
  int64_t num_bytes = 0;
  for (const v1::ChatMessage& message : messages) {
    plain.push_back({message.role(), message.content()});
    num_bytes += static_cast<int64_t>(message.content().size());
  }
  HEADWISE_RETURN_IF_ERROR(CheckTextBytes("messages", num_bytes));
  const Tokenizer& tokenizer = *model.tokenizer;
  absl::StatusOr<std::string> text =
      model.chat_template->Render(plain, /*add_generation_prompt=*/true,
                                  SpecialText(tokenizer, tokenizer.bos_id()),
                                  SpecialText(tokenizer, tokenizer.eos_id()));
  if (text.ok()) {
    HEADWISE_RETURN_IF_ERROR(
        CheckTextBytes("messages", static_cast<int64_t>(text->size())));
    return text;
  }
  // Its limits too: the same messages would meet them again.
  if (absl::IsInvalidArgument(text.status()) ||
      absl::IsResourceExhausted(text.status())) {
    return InvalidField(
        "messages", absl::StrCat("the chat template of ", model.name,
                                 " refuses them: ", text.status().message()));
  }
  if (absl::IsUnimplemented(text.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("the chat template of ", model.name,
                     " can't be used: ", text.status().message()));
  }
  return text.status();
}

}  // namespace headwise
