#include "worker/attention/chunk_choice.h"

#include <algorithm>
#include <numeric>

namespace headwise {

ChunkCandidates CandidatesOf(const UnitPolicy& policy, int64_t own) {
  if (own + 1 <= policy.num_chunks) return {};
  if (policy.kind == PolicyKind::kLandmark) {
    return {0, own, policy.num_chunks - 1};
  }
  return {1, own - 1, policy.num_chunks - 3};
}

void ChooseChunks(const UnitPolicy& policy, int64_t own,
                  absl::Span<const float> scores,
                  std::vector<int64_t>* chosen) {
  const ChunkCandidates from = CandidatesOf(policy, own);
  chosen->clear();
  if (from.begin == from.end) {
    chosen->resize(static_cast<size_t>(own + 1));
    std::iota(chosen->begin(), chosen->end(), 0);
    return;
  }
  const auto better = [&](int64_t a, int64_t b) {
    const float x = scores[a - from.begin];
    const float y = scores[b - from.begin];
    if (x > y) return true;
    if (y > x) return false;
    // Equal, or one is not a number.
    const bool x_is_number = x == x;
    const bool y_is_number = y == y;
    if (x_is_number != y_is_number) return x_is_number;
    return a < b;
  };
  for (int64_t c = from.begin; c < from.end; ++c) chosen->push_back(c);
  const auto kept = chosen->begin() + from.choose;
  std::nth_element(chosen->begin(), kept, chosen->end(), better);
  chosen->erase(kept, chosen->end());
  for (int64_t c = 0; c < from.begin; ++c) chosen->push_back(c);
  for (int64_t c = from.end; c <= own; ++c) chosen->push_back(c);
  std::sort(chosen->begin(), chosen->end());
}

}  // namespace headwise
