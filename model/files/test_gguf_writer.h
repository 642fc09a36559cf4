// Writes GGUF files for tests, valid ones and broken ones.

#ifndef HEADWISE_MODEL_FILES_TEST_GGUF_WRITER_H_
#define HEADWISE_MODEL_FILES_TEST_GGUF_WRITER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/files/gguf_container.h"
#include "model/tensor.h"

namespace headwise {

// Little-endian bytes of a number.
template <typename T>
std::string RawBytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
// A 64-bit length and the text.
std::string RawText(absl::string_view text);

// Keys and tensors keep the order in which they were added. Every field of the
// file can be given a wrong value: tests of bad input change one at a time.
class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dimensions;  // as in the file: innermost first
    uint32_t type = 0;                 // GGML's number
    std::string bytes;
    std::optional<uint64_t> offset;  // default: after the tensor before
  };

  // A value of any type; `payload` is what follows the type's number.
  void AddRaw(absl::string_view key, uint32_t type, std::string payload);
  void AddUint32(absl::string_view key, uint32_t value);
  void AddFloat32(absl::string_view key, float value);
  void AddBool(absl::string_view key, bool value);
  void AddText(absl::string_view key, absl::string_view value);
  void AddTextArray(absl::string_view key,
                    const std::vector<std::string>& values);
  void AddInt32Array(absl::string_view key, const std::vector<int32_t>& values);
  void AddFloat32Array(absl::string_view key, const std::vector<float>& values);
  // `shape` is outermost first.
  void AddTensor(absl::string_view name, const std::vector<int64_t>& shape,
                 DType dtype, std::string bytes);

  // The key may be absent.
  void Remove(absl::string_view key);
  // nullptr if there is none.
  Tensor* FindTensor(absl::string_view name);
  std::vector<Tensor>& tensors() { return tensors_; }

  void set_version(uint32_t version) { version_ = version; }
  // Also where the writer places tensors; written as a key only if it is not
  // 32. For a wrong key, AddUint32("general.alignment", ...).
  void set_alignment(uint64_t alignment) { alignment_ = alignment; }
  void set_num_keys(uint64_t count) { num_keys_ = count; }
  void set_num_tensors(uint64_t count) { num_tensors_ = count; }

  std::string Finish() const;

 private:
  struct Entry {
    std::string key;
    uint32_t type = 0;
    std::string payload;
  };

  uint32_t version_ = 3;
  uint64_t alignment_ = 32;              // bytes
  std::optional<uint64_t> num_keys_;     // in the header; default: the truth
  std::optional<uint64_t> num_tensors_;  // as above
  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_GGUF_WRITER_H_
