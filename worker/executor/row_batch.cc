#include "worker/executor/row_batch.h"

#include <algorithm>

#include "model/head_plan/context_ranges.h"

namespace headwise {
namespace {

// Pieces of at most this many rows are cut into ranges.
constexpr int64_t kMaxCutRows = 4;
// Rows of a prefill that one thread takes at once: converted keys serve all.
constexpr int64_t kSpanRows = 32;

void CutIntoRanges(const BatchPiece& piece, int64_t index, RowBatch* batch) {
  const int64_t end = piece.first_position + piece.num_rows;
  const int64_t first = batch->num_partials;
  for (int64_t begin = 0; begin < end; begin = RangeEnd(begin)) {
    batch->spans.push_back({index, 0, piece.num_rows, begin,
                            std::min(RangeEnd(begin), end),
                            batch->num_partials++});
  }
  for (int64_t r = 0; r < piece.num_rows; ++r) {
    batch->row_partials[piece.first_row + r] = {first,
                                                batch->num_partials - first, r};
  }
  batch->max_partial_rows = std::max(batch->max_partial_rows, piece.num_rows);
}

void CutIntoRows(const BatchPiece& piece, int64_t index, RowBatch* batch) {
  for (int64_t row = 0; row < piece.num_rows; row += kSpanRows) {
    const int64_t count = std::min(kSpanRows, piece.num_rows - row);
    batch->spans.push_back(
        {index, row, count, 0, piece.first_position + row + count, -1});
  }
}

}  // namespace

void PlanSpans(RowBatch* batch) {
  batch->spans.clear();
  batch->num_partials = 0;
  batch->max_partial_rows = 0;
  batch->row_partials.assign(static_cast<size_t>(batch->num_rows), {});
  for (size_t i = 0; i < batch->pieces.size(); ++i) {
    const BatchPiece& piece = batch->pieces[i];
    const int64_t end = piece.first_position + piece.num_rows;
    if (piece.num_rows <= kMaxCutRows && NumRanges(end) > 1) {
      CutIntoRanges(piece, static_cast<int64_t>(i), batch);
    } else {
      CutIntoRows(piece, static_cast<int64_t>(i), batch);
    }
  }
  // The longest first, so that threads end together.
  std::stable_sort(batch->spans.begin(), batch->spans.end(),
                   [](const AttendSpan& a, const AttendSpan& b) {
                     return a.num_rows * (a.range_end - a.range_begin) >
                            b.num_rows * (b.range_end - b.range_begin);
                   });
}

}  // namespace headwise
