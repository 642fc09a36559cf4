// Which chunks of a context a query sees, given how they score.

#ifndef HEADWISE_WORKER_ATTENTION_CHUNK_CHOICE_H_
#define HEADWISE_WORKER_ATTENTION_CHUNK_CHOICE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// The first chunk that a choice is made from, and how many there are. A query
// in chunk `own` always sees its own; but for kLandmark also chunk 0 and own -
// 1 (LongHeads, Lu et al., 2402.10685: first, last whole and tail). Nothing is
// chosen while all fit.
struct ChunkCandidates {
  int64_t begin = 0;
  int64_t end = 0;     // begin == end: all chunks [0, own] are seen
  int64_t choose = 0;  // at most so many of them
};
ChunkCandidates CandidatesOf(const UnitPolicy& policy, int64_t own);

// The chunks that a query in chunk `own` sees, ascending: `scores` has one
// entry per candidate; the highest win, of equals the lower index. A score that
// is NaN loses to every other.
void ChooseChunks(const UnitPolicy& policy, int64_t own,
                  absl::Span<const float> scores, std::vector<int64_t>* chosen);

// Where a query at offset `offset` of its chunk stands to keys in the j-th of
// `count` places for chunks, its own in the last, if keys are rotated by their
// offset within the chunk. LongHeads: the chunks that it sees, side by side.
inline int64_t MappedPosition(int64_t count, int64_t j, int64_t chunk_len,
                              int64_t offset) {
  return (count - 1 - j) * chunk_len + offset;
}

// kLandmark with slot_positions, of a query in chunk `own` that sees `seen`
// chunks: seen + 1 places, of which the last `seen` are for the chunks that
// truly stand there and the first is for all older ones ("stingy" positions, as
// in the paper's released code).
//
// Where `chunk` stands when its landmark is scored for the choice.
inline int64_t ScoringSlot(int64_t own, int64_t seen, int64_t chunk) {
  return chunk > own - seen ? chunk - (own - seen) : 0;
}
// Where the j-th chunk that the query sees stands when it is attended to.
inline int64_t AttendedSlot(int64_t own, int64_t seen, int64_t chunk,
                            int64_t j) {
  return chunk > own - seen ? j + 1 : j;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_ATTENTION_CHUNK_CHOICE_H_
