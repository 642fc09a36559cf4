// Typed reading of GGUF values: the right type in range, or an error that names
// the key.

#ifndef HEADWISE_MODEL_FILES_GGUF_VALUES_H_
#define HEADWISE_MODEL_FILES_GGUF_VALUES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/files/gguf_container.h"

namespace headwise {

// Each returns nullopt if the key is absent and InvalidArgument if its type is
// another one. Integers of every width are taken if they fit int64_t; reals may
// be float32 or float64 and are not checked for NaN here.
absl::StatusOr<std::optional<int64_t>> FindInt(const GgufContainer& gguf,
                                               absl::string_view key);
absl::StatusOr<std::optional<double>> FindReal(const GgufContainer& gguf,
                                               absl::string_view key);
absl::StatusOr<std::optional<bool>> FindBool(const GgufContainer& gguf,
                                             absl::string_view key);
absl::StatusOr<std::optional<absl::string_view>> FindText(
    const GgufContainer& gguf, absl::string_view key);

// As above, and InvalidArgument if the key is absent.
absl::StatusOr<int64_t> RequireInt(const GgufContainer& gguf,
                                   absl::string_view key);
absl::StatusOr<double> RequireReal(const GgufContainer& gguf,
                                   absl::string_view key);
absl::StatusOr<absl::string_view> RequireText(const GgufContainer& gguf,
                                              absl::string_view key);

// Arrays of at most `limit` elements, checked before anything is allocated.
// Empty if the key is absent.
absl::StatusOr<std::vector<absl::string_view>> TextArray(
    const GgufContainer& gguf, absl::string_view key, uint64_t limit);
absl::StatusOr<std::vector<int32_t>> Int32Array(const GgufContainer& gguf,
                                                absl::string_view key,
                                                uint64_t limit);
absl::StatusOr<std::vector<float>> Float32Array(const GgufContainer& gguf,
                                                absl::string_view key,
                                                uint64_t limit);

// For people: one line, arrays cut after a few elements.
std::string GgufValueText(const GgufValue& value);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_GGUF_VALUES_H_
