// A bounded cursor over little-endian bytes.

#ifndef HEADWISE_MODEL_FILES_BYTE_READER_H_
#define HEADWISE_MODEL_FILES_BYTE_READER_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace headwise {

static_assert(std::endian::native == std::endian::little,
              "model files are little-endian and are read in place");

// Each call either succeeds or leaves the reader where it was. The caller turns
// `false` into an error that says what it was reading.
class ByteReader {
 public:
  explicit ByteReader(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  [[nodiscard]] bool Read(T* value) {
    static_assert(std::is_arithmetic_v<T>);
    if (remaining() < sizeof(T)) return false;
    std::memcpy(value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return true;
  }

  [[nodiscard]] bool ReadSpan(uint64_t size, absl::Span<const uint8_t>* span) {
    if (remaining() < size) return false;
    *span = bytes_.subspan(offset_, size);
    offset_ += size;
    return true;
  }

  // A 64-bit length and that many bytes.
  [[nodiscard]] bool ReadString(absl::string_view* text) {
    uint64_t size = 0;
    if (remaining() < sizeof(size)) return false;
    std::memcpy(&size, bytes_.data() + offset_, sizeof(size));
    if (remaining() - sizeof(size) < size) return false;
    offset_ += sizeof(size);
    *text = absl::string_view(
        reinterpret_cast<const char*>(bytes_.data() + offset_), size);
    offset_ += size;
    return true;
  }

 private:
  absl::Span<const uint8_t> bytes_;
  uint64_t offset_ = 0;  // <= bytes_.size()
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_BYTE_READER_H_
