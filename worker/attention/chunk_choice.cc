#include "worker/attention/chunk_choice.h"

#include <algorithm>
#include <numeric>

namespace headwise {
namespace {

// Scores that are looked at together: most hold nothing better than what is
// kept already, and that is seen at once.
constexpr int64_t kScanWidth = 16;

// Whether a score of kScanWidth could take the place of `worst`.
bool MayBeBetter(const float* scores, float worst) {
  int any = 0;
  for (int64_t i = 0; i < kScanWidth; ++i) any |= !(scores[i] <= worst);
  return any != 0;
}

// The from.choose best candidates, in no order; a heap with the worst in front.
template <typename Better>
void KeepBest(const ChunkCandidates& from, absl::Span<const float> scores,
              const Better& better, std::vector<int64_t>* chosen) {
  if (from.choose == 0) return;
  int64_t c = from.begin;
  for (; c < from.begin + from.choose; ++c) chosen->push_back(c);
  std::make_heap(chosen->begin(), chosen->end(), better);
  while (c < from.end) {
    const float* ahead = scores.data() + (c - from.begin);
    if (from.end - c >= kScanWidth &&
        !MayBeBetter(ahead, scores[chosen->front() - from.begin])) {
      c += kScanWidth;
      continue;
    }
    const int64_t end = std::min(c + kScanWidth, from.end);
    for (; c < end; ++c) {
      if (!better(c, chosen->front())) continue;
      std::pop_heap(chosen->begin(), chosen->end(), better);
      chosen->back() = c;
      std::push_heap(chosen->begin(), chosen->end(), better);
    }
  }
}

}  // namespace

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
  KeepBest(from, scores, better, chosen);
  for (int64_t c = 0; c < from.begin; ++c) chosen->push_back(c);
  for (int64_t c = from.end; c <= own; ++c) chosen->push_back(c);
  std::sort(chosen->begin(), chosen->end());
}

}  // namespace headwise
