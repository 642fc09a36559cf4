#include "worker/executor/step_batches.h"

#include <algorithm>
#include <set>
#include <utility>

namespace headwise {
namespace {

// The contrast of `batch` that begins in `layer`.
ContrastBatch MakeContrast(const RowBatch& batch, int64_t layer,
                           int64_t model_dim, Sequences* sequences,
                           PieceStates* states) {
  ContrastBatch out;
  out.batch.is_contrast = true;
  out.batch.first_layer = layer;
  std::vector<size_t> sources;
  for (size_t p = 0; p < batch.pieces.size(); ++p) {
    BatchPiece piece = batch.pieces[p];
    const Sequence& sequence = sequences->Get(piece.sequence_id);
    if (sequence.contrast_plan_id == 0 || sequence.contrast_layer != layer) {
      continue;
    }
    piece.sequence_id = Sequences::ContrastId(piece.sequence_id);
    piece.first_row = out.batch.num_rows;
    out.batch.num_rows += piece.num_rows;
    for (int64_t r = 0; r < piece.num_rows; ++r) {
      out.batch.positions.push_back(piece.first_position + r);
    }
    out.batch.pieces.push_back(piece);
    sources.push_back(p);
  }
  PlanSpans(&out.batch);
  out.entry.Reserve(out.batch.num_rows * model_dim);
  out.batch.entry = out.entry.data();
  for (size_t i = 0; i < sources.size(); ++i) {
    const BatchPiece& piece = out.batch.pieces[i];
    sequences->Extend(piece.sequence_id, piece.num_rows);
    PieceState& state = (*states)[sources[i]];
    state.capture_layer = layer;
    state.capture = out.entry.data() + piece.first_row * model_dim;
  }
  return out;
}

}  // namespace

std::vector<RowBatch> CutIntoBatches(const Step& step, Sequences* sequences) {
  std::vector<RowBatch> batches;
  for (size_t i = 0; i < step.slices.size(); ++i) {
    const Slice& slice = step.slices[i];
    const std::vector<int32_t> tokens = sequences->Begin(slice);
    int64_t done = 0;
    while (done < slice.num_rows()) {
      if (batches.empty() || batches.back().num_rows == kMaxBatchRows) {
        batches.emplace_back();
      }
      RowBatch& batch = batches.back();
      const int64_t count =
          std::min(kMaxBatchRows - batch.num_rows, slice.num_rows() - done);
      batch.pieces.push_back({slice.sequence_id, static_cast<int64_t>(i), done,
                              batch.num_rows, count,
                              slice.first_position + done});
      for (int64_t r = 0; r < count; ++r) {
        batch.tokens.push_back(tokens[done + r]);
        batch.positions.push_back(slice.first_position + done + r);
      }
      batch.num_rows += count;
      done += count;
    }
  }
  for (RowBatch& batch : batches) PlanSpans(&batch);
  return batches;
}

std::vector<ContrastBatch> MakeContrasts(absl::Span<const RowBatch> batches,
                                         int64_t model_dim,
                                         Sequences* sequences,
                                         absl::Span<PieceStates> pieces) {
  std::set<int64_t> layers;
  for (const RowBatch& batch : batches) {
    for (const BatchPiece& piece : batch.pieces) {
      const Sequence& sequence = sequences->Get(piece.sequence_id);
      if (sequence.contrast_plan_id != 0) {
        layers.insert(sequence.contrast_layer);
      }
    }
  }
  std::vector<ContrastBatch> contrasts;
  for (const int64_t layer : layers) {
    for (size_t i = 0; i < batches.size(); ++i) {
      ContrastBatch contrast =
          MakeContrast(batches[i], layer, model_dim, sequences, &pieces[i]);
      if (contrast.batch.num_rows > 0) contrasts.push_back(std::move(contrast));
    }
  }
  return contrasts;
}

}  // namespace headwise
