#include "server/selection/copy_model.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace headwise {

std::vector<double> CopyProbabilities(absl::Span<const int32_t> tokens) {
  using Run = absl::Span<const int32_t>;
  absl::flat_hash_map<Run, int64_t> followed;  // runs, by any token
  absl::flat_hash_map<Run, int64_t> seen;      // runs with the token after them
  std::vector<double> probabilities(tokens.size(), 0.0);
  for (size_t i = 1; i < tokens.size(); ++i) {
    const size_t longest = std::min<size_t>(i, kCopyOrder);
    for (size_t length = longest; length > 0; --length) {
      const auto run = followed.find(tokens.subspan(i - length, length));
      if (run == followed.end()) continue;
      const auto whole = seen.find(tokens.subspan(i - length, length + 1));
      if (whole != seen.end()) {
        probabilities[i] = static_cast<double>(whole->second) /
                           static_cast<double>(run->second + 1);
      }
      break;
    }
    for (size_t length = 1; length <= longest; ++length) {
      ++followed[tokens.subspan(i - length, length)];
      ++seen[tokens.subspan(i - length, length + 1)];
    }
  }
  return probabilities;
}

}  // namespace headwise
