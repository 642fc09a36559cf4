// Which chunks of a context a query sees, given how they score.

#ifndef HEADWISE_WORKER_ATTENTION_CHUNK_CHOICE_H_
#define HEADWISE_WORKER_ATTENTION_CHUNK_CHOICE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// The first chunk that a choice is made from, and how many there are: a query
// in chunk `own` always sees chunk 0, own - 1 and own (LongHeads, Lu et al.,
// 2402.10685: first, last whole and tail). Nothing is chosen while all fit.
struct ChunkCandidates {
  int64_t begin = 0;
  int64_t end = 0;     // begin == end: all chunks [0, own] are seen
  int64_t choose = 0;  // at most so many of them
};
ChunkCandidates CandidatesOf(int64_t own, int64_t num_chunks);

// The chunks that a query in chunk `own` sees, ascending: `scores` has one
// entry per candidate; the highest win, of equals the lower index. A score that
// is NaN loses to every other.
void ChooseChunks(int64_t own, int64_t num_chunks,
                  absl::Span<const float> scores, std::vector<int64_t>* chosen);

// LongHeads: where a query at offset `offset` of its chunk stands to keys of
// the j-th of `count` chunks that it sees, if all chunks lay side by side and
// keys were rotated by their offset within the chunk.
inline int64_t MappedPosition(int64_t count, int64_t j, int64_t chunk_len,
                              int64_t offset) {
  return (count - 1 - j) * chunk_len + offset;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_ATTENTION_CHUNK_CHOICE_H_
