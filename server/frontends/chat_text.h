// What a chat's messages are as a text.

#ifndef HEADWISE_SERVER_FRONTENDS_CHAT_TEXT_H_
#define HEADWISE_SERVER_FRONTENDS_CHAT_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "headwise/v1/inference.pb.h"
#include "server/frontends/served_model.h"

namespace headwise {

// InvalidArgument by field: too few or too many, or a role that is none.
absl::Status CheckMessages(
    const google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages);

// By the model's chat template, which there must be. OutOfRange: messages or
// text beyond kMaxTextBytes. The template's errors are the messages' fault
// (InvalidArgument) or the model's (FailedPrecondition).
absl::StatusOr<std::string> RenderMessages(
    const google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages,
    const ServedModel& model);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CHAT_TEXT_H_
