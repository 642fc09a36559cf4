// Bytes of a test file where a parser wants them: aligned, and in a buffer of
// exactly their size, so that a sanitizer sees a read beyond the end.

#ifndef HEADWISE_MODEL_FILES_TEST_BYTES_H_
#define HEADWISE_MODEL_FILES_TEST_BYTES_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace headwise {

class TestBytes {
 public:
  explicit TestBytes(absl::string_view text)
      : data_(new uint8_t[text.size()]), size_(text.size()) {
    if (size_ > 0) std::memcpy(data_.get(), text.data(), size_);
  }
  absl::Span<const uint8_t> span() const { return {data_.get(), size_}; }

 private:
  std::unique_ptr<uint8_t[]> data_;  // operator new aligns to 16
  size_t size_;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_BYTES_H_
