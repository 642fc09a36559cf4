// JSON of a model's folder, read with limits, and typed access to its members.

#ifndef HEADWISE_MODEL_FILES_BOUNDED_JSON_H_
#define HEADWISE_MODEL_FILES_BOUNDED_JSON_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct JsonLimits {
  uint64_t max_bytes = uint64_t{1} << 24;  // of text
  int64_t max_values = int64_t{1} << 20;   // objects, arrays and scalars
  int64_t max_depth = 32;
};

// `what` names the file in errors. InvalidArgument for a syntax error (with its
// byte), a key that occurs twice in an object, a number beyond double, or a
// limit that is exceeded. Memory stays within max_values * 100 bytes + text.
absl::StatusOr<nlohmann::json> ParseBoundedJson(absl::string_view what,
                                                absl::Span<const uint8_t> text,
                                                const JsonLimits& limits);

// Each returns nullopt if `object` has no such member or it is null, and
// InvalidArgument if its type is another one. `object` must be a JSON object.
absl::StatusOr<std::optional<int64_t>> JsonInt(const nlohmann::json& object,
                                               const char* key);
absl::StatusOr<std::optional<double>> JsonReal(const nlohmann::json& object,
                                               const char* key);
absl::StatusOr<std::optional<bool>> JsonBool(const nlohmann::json& object,
                                             const char* key);
absl::StatusOr<std::optional<std::string>> JsonText(
    const nlohmann::json& object, const char* key);

// The member, or nullptr if there is none or it is null.
const nlohmann::json* JsonMember(const nlohmann::json& object, const char* key);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_BOUNDED_JSON_H_
