// A checksum in a message, over all that is said with it.
//
// TCP's own sum lets one corrupt segment in 65,536 pass, and what flips a byte
// above TCP (memory, a proxy) passes always. Where bytes are not encrypted
// nothing else would notice: a step that says another token is a valid step.

#ifndef HEADWISE_WORKER_STEP_WIRE_MESSAGE_CHECKSUM_H_
#define HEADWISE_WORKER_STEP_WIRE_MESSAGE_CHECKSUM_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/crc32c.h"

namespace headwise {

// A message whose field of the highest number is `fixed32 crc32c`, which is
// therefore written last: 5 bytes, none if it is 0. Both ends are of one build,
// so no message has a field that its reader does not know, unless it is broken.
inline constexpr size_t kChecksumFieldBytes = 5;

inline uint32_t ChecksumOf(absl::string_view bytes) {
  return Crc32c({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

// Once the message is whole.
template <typename Message>
void WriteChecksum(Message* message) {
  message->clear_crc32c();
  message->set_crc32c(ChecksumOf(message->SerializeAsString()));
}

// Internal if the message is not what was written: who sent it may be well.
template <typename Message>
absl::Status CheckChecksum(const Message& message) {
  const std::string bytes = message.SerializeAsString();
  absl::string_view said = bytes;
  if (message.crc32c() != 0) said.remove_suffix(kChecksumFieldBytes);
  const uint32_t sum = ChecksumOf(said);
  if (sum == message.crc32c()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      message.GetTypeName(), " changed on its way: its checksum is ",
      message.crc32c(), ", its bytes have ", sum));
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WIRE_MESSAGE_CHECKSUM_H_
