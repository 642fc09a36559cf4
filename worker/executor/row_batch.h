// The rows of a step that go through the layers together.

#ifndef HEADWISE_WORKER_EXECUTOR_ROW_BATCH_H_
#define HEADWISE_WORKER_EXECUTOR_ROW_BATCH_H_

#include <cstdint>
#include <vector>

namespace headwise {

// At most this many rows at once: large enough that weights are read seldom,
// and small enough that the rows stay in a core's cache. It changes no bit.
inline constexpr int64_t kMaxBatchRows = 128;

// Consecutive rows of one sequence.
struct BatchPiece {
  uint64_t sequence_id = 0;
  int64_t slice = 0;  // index in the step
  int64_t first_slice_row = 0;
  int64_t first_row = 0;  // in the batch
  int64_t num_rows = 0;
  int64_t first_position = 0;
};

// Part of a piece's attention that one thread does on its own.
struct AttendSpan {
  int64_t piece = 0;
  int64_t first_row = 0;  // within the piece
  int64_t num_rows = 0;
  // One range, whose partial goes to `partial`; or all ranges of the context,
  // merged on the spot, if partial is -1.
  int64_t range_begin = 0;
  int64_t range_end = 0;
  int64_t partial = -1;
};

// The partials of a row that was cut into ranges lie at [first_partial,
// + num_partials), in position order; num_partials 0: the row is whole.
struct RowPartials {
  int64_t first_partial = 0;
  int64_t num_partials = 0;
  int64_t row_in_partial = 0;
};

struct RowBatch {
  int64_t num_rows = 0;
  std::vector<BatchPiece> pieces;
  // The layer that the rows enter first, and what they enter it with,
  // [num_rows][model_dim]; nullptr: their tokens' embeddings, at layer 0.
  int64_t first_layer = 0;
  const float* entry = nullptr;
  bool is_contrast = false;        // scores go where contrasts belong
  std::vector<int32_t> tokens;     // [num_rows], if they are embedded
  std::vector<int64_t> positions;  // [num_rows]
  std::vector<AttendSpan> spans;
  std::vector<RowPartials> row_partials;  // [num_rows]
  int64_t num_partials = 0;
  int64_t max_partial_rows = 0;
};

// Fills spans, row_partials and num_partials from the pieces. Rows of few
// tokens over a long context are cut into ranges, so that threads share them;
// rows of a prefill are cut into blocks of rows.
void PlanSpans(RowBatch* batch);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_ROW_BATCH_H_
