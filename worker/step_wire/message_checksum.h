// A checksum in a message, over all that is said with it.
//
// TCP's own sum lets one corrupt segment in 65,536 pass, and what flips a byte
// above TCP (memory, a proxy) passes always. Where bytes are not encrypted
// nothing else would notice: a step that says another token is a valid step.

#ifndef HEADWISE_WORKER_STEP_WIRE_MESSAGE_CHECKSUM_H_
#define HEADWISE_WORKER_STEP_WIRE_MESSAGE_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"

namespace headwise {

// Such a message has a field `fixed32 crc32c`. It is of the bytes of all other
// fields, in order of number. A field that the reader does not know comes last
// there, as it does in the writer's order: the rules of worker.proto see to it.
inline constexpr size_t kChecksumFieldBytes = 5;  // none if it is 0

// CRC-32C of the name of the message's type and of the first `num_bytes` bytes
// that it is written as, after what gave `before`. The name is there since
// bytes of one type may be read as another's: a flipped header calls another
// method.
uint32_t ChecksumOf(const google::protobuf::MessageLite& message,
                    size_t num_bytes, uint32_t before);

// Whether crc32c has the highest number of the fields of the type, and so is
// written last unless the message has others that its reader does not know.
bool HasChecksumLast(const google::protobuf::Descriptor& type);

// Internal: who sent it may be well.
absl::Status ChangedOnItsWay(const google::protobuf::MessageLite& message,
                             uint32_t says, uint32_t has);
// Is it that, of whatever code?
bool IsChangedOnItsWay(const absl::Status& status);

// Once the message is whole. `before` is the checksum of the request that the
// message answers, 0 if that is known by other means: the answer to another
// call, which a flipped stream number delivers, is not taken for this one's.
template <typename Message>
void WriteChecksum(Message* message, uint32_t before = 0) {
  message->clear_crc32c();
  message->set_crc32c(ChecksumOf(*message, message->ByteSizeLong(), before));
}

// ChangedOnItsWay if the message is not what was written.
template <typename Message>
absl::Status CheckChecksum(const Message& message, uint32_t before = 0) {
  static const bool is_last = HasChecksumLast(*Message::descriptor());
  uint32_t sum = 0;
  if (is_last && message.GetReflection()->GetUnknownFields(message).empty()) {
    const size_t field = message.crc32c() == 0 ? 0 : kChecksumFieldBytes;
    sum = ChecksumOf(message, message.ByteSizeLong() - field, before);
  } else {
    Message others = message;
    others.clear_crc32c();
    sum = ChecksumOf(others, others.ByteSizeLong(), before);
  }
  if (sum == message.crc32c()) return absl::OkStatus();
  return ChangedOnItsWay(message, message.crc32c(), sum);
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WIRE_MESSAGE_CHECKSUM_H_
