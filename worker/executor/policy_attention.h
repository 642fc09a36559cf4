// Attention of a few rows of one unit under any policy: every one is a merge of
// partial attention over spans of positions (docs/architecture.md, "One
// identity").

#ifndef HEADWISE_WORKER_EXECUTOR_POLICY_ATTENTION_H_
#define HEADWISE_WORKER_EXECUTOR_POLICY_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "model/hyperparameters.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/executor/float_blocks.h"
#include "worker/executor/rotation.h"
#include "worker/executor/unit_kv.h"

namespace headwise {

// Consecutive rows of one sequence, [num_rows] of them, g query heads each.
// Queries are multiplied by softmax_scale.
struct UnitRows {
  const UnitKv* kv = nullptr;
  int64_t prompt_len = 0;
  int64_t first_position = 0;
  int64_t num_rows = 0;
  // [num_rows][g][head_dim], rotated by their positions (by their place in the
  // chunk where RotationPeriod says so).
  const float* queries = nullptr;
  // The same, not rotated; for policies that renumber positions, and for Add.
  const float* plain_queries = nullptr;
  // kRazor: means of the dropped keys and values before each row,
  // [num_rows][2][head_dim].
  const float* razor_means = nullptr;
  float* out = nullptr;  // [num_rows][g][head_dim]
  // Positions that come before it no row sees; kStreaming without sinks.
  int64_t first_visible = 0;
};

// Rows beside the cache that queries see as they are before their rotation.
struct RowsBeside {
  const FloatBlocks* blocks = nullptr;
  // How many the first query sees; each of the next sees `step` more.
  int64_t num_visible = 0;
  int64_t step = 0;
};

// Whether the policy needs UnitRows::plain_queries.
bool NeedsPlainQueries(const UnitPolicy& policy);
// Positions of the rotation table that the policy looks up.
int64_t RotationTableSize(const UnitPolicy& policy);

// One thread's. The bits of a row depend on its sequence alone.
class PolicyAttention {
 public:
  // Everything outlives this.
  PolicyAttention(const Kernels& kernels, const Hyperparameters& hyper,
                  const RotationTable& rotations);

  void Attend(const UnitRows& rows);
  // Merges more into what Attend gave for the same rows.
  void Add(const UnitRows& rows, const RowsBeside& beside);
  // Natural log-sum-exp of the last rows, [num_rows][g]; not of calibrated
  // heads. Until the next call.
  const float* lse() const { return lse_.data(); }

 private:
  // Queries of the same unit that see one span each.
  struct SpanRows {
    const UnitKv* kv = nullptr;
    const float* queries = nullptr;  // [count][head_dim]
    const int64_t* begin = nullptr;  // [count] never descending
    const int64_t* end = nullptr;    // [count] never descending
    int64_t count = 0;
    float* out = nullptr;  // [count][head_dim]
    float* lse = nullptr;  // [count]
  };
  // A chunk that a row sees, in the `slot`-th of `num_slots` places.
  struct ChunkRow {
    int64_t chunk = 0;
    int64_t row = 0;
    int64_t head = 0;  // the first of `heads_at_once`
    int64_t slot = 0;
    int64_t num_slots = 0;
    bool is_own = false;  // it is the row's own chunk
  };

  // Adds a span in fixed ranges to (out, lse).
  void AddSpan(const SpanRows& rows);
  void AttendSpans(const UnitRows& rows);
  void AddSinks(const UnitRows& rows, int64_t first, float* lse);
  // Rows that share a calibrated head's sinks, [first, first + count).
  void Calibrate(const UnitRows& rows, const CalibratedHead& head,
                 const std::vector<int64_t>& sinks, int64_t first,
                 int64_t count);
  void CalibrateRows(const UnitRows& rows, const CalibratedHead& head);
  void AddRuns(const UnitRows& rows, const std::vector<int64_t>& sinks,
               bool of_sinks, int64_t first, const SpanRows& to);
  void AddCompensation(const UnitRows& rows, int64_t row, int64_t dropped,
                       float* lse);

  // policy_chunks.cc
  void AttendChunks(const UnitRows& rows);
  void ListChunks(const UnitRows& rows, std::vector<ChunkRow>* list);
  // Scores of chunks [0, count) for one head: out [num_rows][count].
  void ScoreChunks(const UnitRows& rows, int64_t head, int64_t count,
                   float* out);
  void ScorePages(const UnitRows& rows, int64_t head, int64_t count,
                  float* out);
  void ScoreBlocks(const UnitRows& rows, int64_t head, int64_t count,
                   float* out);
  void ScoreHeads(const UnitRows& rows, int64_t first, int64_t count,
                  int64_t num_scores);
  // Rows for which it is their own chunk, or rows for which it is not.
  void AddChunk(const UnitRows& rows, const ChunkRow* first, int64_t count,
                float* lse);

  // policy_landmarks.cc
  void ScoreLandmarks(const UnitRows& rows, int64_t head, int64_t count,
                      float* out);
  void ScoreRecent(const UnitRows& rows, int64_t head, int64_t count,
                   float* out);
  // What the first `num_queries` gathered queries score with one landmark.
  void ScoreLandmark(const UnitRows& rows, int64_t chunk, int64_t num_queries,
                     float* out);
  ScoresArgs LandmarkScores(const UnitRows& rows, int64_t num_queries) const;

  const Kernels& kernels_;
  const Hyperparameters& hyper_;
  const RotationTable& rotations_;
  const int64_t g_;
  const int64_t dim_;

  AlignedBuffer<float> scratch_, part_out_, part_lse_, lse_, gathered_;
  AlignedBuffer<float> halves_, half_lse_;  // of calibrated rows
  std::vector<int64_t> begin_, end_;
  std::vector<float> chunk_scores_, best_scores_, landmark_scores_;
  std::vector<int64_t> chosen_;
  std::vector<ChunkRow> chunk_rows_;
  std::vector<const uint8_t*> beside_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_POLICY_ATTENTION_H_
