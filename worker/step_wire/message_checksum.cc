#include "worker/step_wire/message_checksum.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/crc32c.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace headwise {
namespace {

constexpr absl::string_view kChanged = " changed on its way: ";
// What is summed up at once: it stays in the cache, where a copy of a message
// of megabytes would be written to memory and read again.
constexpr int kPieceBytes = 16 << 10;

// Sums up the first bytes that are written to it, and keeps none.
class SumOfFirst final : public google::protobuf::io::CopyingOutputStream {
 public:
  SumOfFirst(size_t num_bytes, uint32_t before)
      : left_(num_bytes), sum_(before) {}

  bool Write(const void* buffer, int size) override {
    const size_t taken = std::min(left_, static_cast<size_t>(size));
    sum_ = Crc32c({static_cast<const uint8_t*>(buffer), taken}, sum_);
    left_ -= taken;
    return true;
  }
  uint32_t sum() const { return sum_; }

 private:
  size_t left_;
  uint32_t sum_;
};

}  // namespace

uint32_t ChecksumOf(const google::protobuf::MessageLite& message,
                    size_t num_bytes, uint32_t before) {
  const std::string name = message.GetTypeName();
  SumOfFirst sum(
      num_bytes,
      Crc32c({reinterpret_cast<const uint8_t*>(name.data()), name.size()},
             before));
  google::protobuf::io::CopyingOutputStreamAdaptor pieces(&sum, kPieceBytes);
  // False for more than 2 GiB, which gRPC does not send either.
  static_cast<void>(message.SerializePartialToZeroCopyStream(&pieces));
  pieces.Flush();
  return sum.sum();
}

bool HasChecksumLast(const google::protobuf::Descriptor& type) {
  const int checksum = type.FindFieldByName("crc32c")->number();
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->number() > checksum) return false;
  }
  return true;
}

absl::Status ChangedOnItsWay(const google::protobuf::MessageLite& message,
                             uint32_t says, uint32_t has) {
  return absl::InternalError(absl::StrCat(message.GetTypeName(), kChanged,
                                          "its checksum is ", says,
                                          ", its bytes have ", has));
}

bool IsChangedOnItsWay(const absl::Status& status) {
  return !status.ok() && absl::StrContains(status.message(), kChanged);
}

}  // namespace headwise
