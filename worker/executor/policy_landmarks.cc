// Landmark attention (Mohtashami and Jaggi, 2305.16300): a query's softmax is
// over its own chunk and the landmarks of other chunks; what a landmark gets,
// its chunk's other positions share by a softmax of their own. As a merge: the
// log-sum-exp of a chunk is replaced by its landmark's score.
//
// With slot positions keys are rotated by their place in the chunk, and the
// query is turned to where it stands to a chunk. So angles of num_chunks + 1
// chunks do for any context, and one turn of the query scores all landmarks
// that share a place; with keys at true positions each would need a turn of its
// own.

#include <algorithm>
#include <cstring>

#include "worker/attention/chunk_choice.h"
#include "worker/executor/policy_attention.h"

namespace headwise {
namespace {

constexpr int64_t kTile = 16;  // scores begin at a multiple of it

}  // namespace

ScoresArgs PolicyAttention::LandmarkScores(const UnitRows& rows,
                                           int64_t num_queries) const {
  ScoresArgs args;
  args.layout = {KvElement::kFp32, dim_};
  args.blocks = rows.kv->landmarks.blocks.data();
  args.queries = gathered_.data();
  args.num_rows = num_queries;
  return args;
}

void PolicyAttention::ScoreLandmarks(const UnitRows& rows, int64_t head,
                                     int64_t count, float* out) {
  const UnitPolicy& policy = rows.kv->policy;
  const float* source =
      policy.slot_positions ? rows.plain_queries : rows.queries;
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    float* query = gathered_.data() + row * dim_;
    std::memcpy(query, source + (row * g_ + head) * dim_,
                static_cast<size_t>(dim_) * sizeof(float));
    if (!policy.slot_positions) continue;
    // As if all stood in the place of the older ones.
    const int64_t t = rows.first_position + row;
    const int64_t seen = std::min(t / policy.chunk_len + 1, policy.num_chunks);
    RotateHead(hyper_.rope,
               rotations_.At(MappedPosition(seen + 1, 0, policy.chunk_len,
                                            t % policy.chunk_len)),
               query);
  }
  ScoresArgs args = LandmarkScores(rows, rows.num_rows);
  args.end = count;
  args.out = out;
  args.out_stride = count;
  kernels_.scores(args);
  if (policy.slot_positions) ScoreRecent(rows, head, count, out);
}

// The last chunks before a row's own stand in places of their own.
void PolicyAttention::ScoreRecent(const UnitRows& rows, int64_t head,
                                  int64_t count, float* out) {
  const UnitPolicy& policy = rows.kv->policy;
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    const int64_t t = rows.first_position + row;
    const int64_t own = t / policy.chunk_len;
    const int64_t seen = std::min(own + 1, policy.num_chunks);
    for (int64_t chunk = own - seen + 1; chunk < own; ++chunk) {
      std::memcpy(gathered_.data(),
                  rows.plain_queries + (row * g_ + head) * dim_,
                  static_cast<size_t>(dim_) * sizeof(float));
      const int64_t slot = ScoringSlot(own, seen, chunk);
      RotateHead(hyper_.rope,
                 rotations_.At(MappedPosition(seen + 1, slot, policy.chunk_len,
                                              t % policy.chunk_len)),
                 gathered_.data());
      ScoreLandmark(rows, chunk, 1, out + row * count + chunk);
    }
  }
}

void PolicyAttention::ScoreLandmark(const UnitRows& rows, int64_t chunk,
                                    int64_t num_queries, float* out) {
  landmark_scores_.resize(static_cast<size_t>(num_queries * kTile));
  ScoresArgs args = LandmarkScores(rows, num_queries);
  args.begin = chunk - chunk % kTile;
  args.end = chunk + 1;
  args.out = landmark_scores_.data();
  args.out_stride = kTile;
  kernels_.scores(args);
  for (int64_t i = 0; i < num_queries; ++i) {
    out[i] = landmark_scores_[i * kTile + chunk % kTile];
  }
}

}  // namespace headwise
