// Why a step failed, where a coordinator must tell one reason from another.

#ifndef HEADWISE_WORKER_STEP_STEP_ERRORS_H_
#define HEADWISE_WORKER_STEP_STEP_ERRORS_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace headwise {

inline constexpr absl::string_view kMemoryBlewUp =
    "a neural memory's input is not finite, or its norm is beyond "
    "titans.memory.max_norm, in layer ";

// OutOfRange: the sequence's tokens have led its memory there, and would do so
// again. Other steps are OutOfRange if a value of the model is not finite,
// which is no request's fault.
inline absl::Status MemoryBlewUp(int64_t layer) {
  return absl::OutOfRangeError(absl::StrCat(kMemoryBlewUp, layer));
}

inline bool IsMemoryBlewUp(const absl::Status& status) {
  return absl::IsOutOfRange(status) &&
         absl::StrContains(status.message(), kMemoryBlewUp);
}

// OutOfRange: what a layer added was no number, or too large for an exact sum.
inline absl::Status ValueOutOfRange(int64_t layer) {
  return absl::OutOfRangeError(
      absl::StrCat("a value is not finite or not below 2^19 in layer ", layer));
}

// DataLoss: the rank that says so found that of its own weights.
inline constexpr absl::string_view kWeightsChanged =
    "weights have changed in memory: ";

// Whose weights have changed, of what a rank says whose group another one
// ended: "rank 0 ended the group: weights have changed in memory: ...". Its own
// word may come later than that, or not at all. None for any other error.
inline std::optional<int> RankOfChangedWeights(const absl::Status& status) {
  constexpr absl::string_view kRank = "rank ";
  const std::string ended = absl::StrCat(" ended the group: ", kWeightsChanged);
  absl::string_view text = status.message();
  text = text.substr(0, std::min(text.find(ended), text.size()));
  const size_t begin = text.rfind(kRank);
  int rank = 0;
  if (text.size() == status.message().size() || begin == text.npos ||
      !absl::SimpleAtoi(text.substr(begin + kRank.size()), &rank)) {
    return std::nullopt;
  }
  return rank;
}

// The ranks that a collective waited for in vain, of an error of the groups of
// worker/collectives: "rank 0 waited 2.5s for rank 1, 2 in epoch 7", perhaps as
// told by another rank. Empty for any other error.
inline std::vector<int> LateRanks(const absl::Status& status) {
  constexpr absl::string_view kWaited = " waited ";
  constexpr absl::string_view kFor = " for rank ";
  constexpr absl::string_view kEnd = " in epoch ";
  absl::string_view text = status.message();
  const size_t waited = text.find(kWaited);
  if (!absl::IsDeadlineExceeded(status) || waited == text.npos) return {};
  text.remove_prefix(waited);
  const size_t begin = text.find(kFor);
  const size_t end = text.find(kEnd);
  if (begin == text.npos || end == text.npos || end < begin) return {};
  text = text.substr(begin + kFor.size(), end - begin - kFor.size());
  std::vector<int> ranks;
  for (const absl::string_view part : absl::StrSplit(text, ", ")) {
    int rank = 0;
    if (!absl::SimpleAtoi(part, &rank)) return {};
    ranks.push_back(rank);
  }
  return ranks;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_STEP_ERRORS_H_
