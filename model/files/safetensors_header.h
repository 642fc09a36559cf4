// The JSON header of a safetensors file, before it is checked against the file.

#ifndef HEADWISE_MODEL_FILES_SAFETENSORS_HEADER_H_
#define HEADWISE_MODEL_FILES_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace headwise {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // "BF16"
  std::vector<int64_t> shape;  // outermost first, each >= 0
  int64_t begin = -1;  // bytes from the buffer's begin; end is exclusive
  int64_t end = -1;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // header's order
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Accepts exactly the documented structure: no other member, no repetition, no
// number that is not a whole one below 2^63, at most 8 dimensions.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    absl::Span<const uint8_t> json);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_SAFETENSORS_HEADER_H_
