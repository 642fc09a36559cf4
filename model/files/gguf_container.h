// GGUF's container: typed keys and values, then tensors. Knows nothing of what
// the keys mean. Format: ggml/docs/gguf.md of github.com/ggml-org/ggml.

#ifndef HEADWISE_MODEL_FILES_GGUF_CONTAINER_H_
#define HEADWISE_MODEL_FILES_GGUF_CONTAINER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/tensor.h"

namespace headwise {

// The file's own numbers.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

const char* GgufTypeName(GgufType type);

// A view of one value. Strings: `payload` is the text. Arrays: the elements as
// they lie in the file; an array of strings has been walked once, so each
// length in it is within the payload.
struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // arrays only
  uint64_t count = 1;                        // elements
  absl::Span<const uint8_t> payload;
};

struct GgufContainer {
  uint32_t version = 0;
  uint64_t alignment = 32;                                       // bytes
  std::vector<std::pair<absl::string_view, GgufValue>> entries;  // file order
  std::vector<TensorView> tensors;                               // file order

  // nullptr if there is no such key. O(1).
  const GgufValue* Find(absl::string_view key) const;

  absl::flat_hash_map<absl::string_view, size_t> entry_of_key;
};

// `bytes` must outlive the result, which views them. Every count, length and
// offset is checked against the bytes that remain before it is used; allocates
// in proportion to the number of keys and tensors only. InvalidArgument for
// damage, Unimplemented for a version or quantization that we do not have.
absl::StatusOr<GgufContainer> ParseGgufContainer(
    absl::Span<const uint8_t> bytes);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_GGUF_CONTAINER_H_
