// A tokenizer whose tokens are bytes: for tests.

#ifndef HEADWISE_SERVER_CALIBRATION_BYTE_TOKENIZER_H_
#define HEADWISE_SERVER_CALIBRATION_BYTE_TOKENIZER_H_

#include <string>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace headwise {

// Ids 0 to 255 are bytes, 256 is bos.
class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(absl::string_view text,
                              const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special) ids.push_back(bos_id());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string TokenBytes(int32_t id) const override {
    return id < 0 || id > 255 ? "" : std::string(1, static_cast<char>(id));
  }
  std::string Decode(absl::Span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += TokenBytes(id);
    return text;
  }
  bool IsEndOfGeneration(int32_t) const override { return false; }
  bool IsSpecial(int32_t id) const override { return id == bos_id(); }
  int64_t vocab_size() const override { return 257; }
  int32_t bos_id() const override { return 256; }
  int32_t eos_id() const override { return -1; }
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_BYTE_TOKENIZER_H_
