// Sets of layers and heads as people write them: "0-3,7", "all".

#ifndef HEADWISE_MODEL_HEAD_PLAN_INDEX_RANGES_H_
#define HEADWISE_MODEL_HEAD_PLAN_INDEX_RANGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace headwise {

// Indices below `count`, ascending. "all", or numbers and ranges, both ends
// included, joined by commas without spaces; ascending, each index once.
// InvalidArgument says what is wrong, without naming the field.
absl::StatusOr<std::vector<int64_t>> ParseIndexRanges(absl::string_view text,
                                                      int64_t count);

// The shortest such text. `indices` ascending, each once, not empty.
std::string FormatIndexRanges(absl::Span<const int64_t> indices, int64_t count);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_INDEX_RANGES_H_
