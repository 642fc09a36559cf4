#include "worker/gpu_executor/batch_tables.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "model/head_plan/context_ranges.h"

namespace headwise {
namespace {

// Calls of one layer and wave: as many rows as a full batch has.
int64_t MaxCalls(const BatchShape& shape) {
  return shape.max_units * kMaxBatchRows;
}

}  // namespace

int64_t BatchTables::BytesOf(const BatchShape& shape, int64_t num_blocks) {
  Carver carver(nullptr);
  carver.Take<double>(kMaxBatchRows);
  carver.Take<int64_t>(kMaxBatchRows);
  carver.Take<int64_t>(kMaxBatchRows);
  carver.Take<int64_t>(kMaxBatchRows * shape.heads_per_kv_head);
  carver.Take<cuda::DevicePiece>(kMaxBatchRows);
  carver.Take<int64_t>(MaxCalls(shape) + 1);
  carver.Take<uint8_t*>(num_blocks);
  const auto num_layers = static_cast<int64_t>(shape.first_unit.size());
  carver.Take<int64_t>(num_layers * shape.max_units * kMaxBatchRows);
  return carver.num_bytes();
}

absl::Status BatchTables::Reserve(int64_t num_blocks) {
  const int64_t num_bytes = BytesOf(shape_, num_blocks);
  if (num_bytes <= memory_.num_bytes()) return absl::OkStatus();
  memory_ = DeviceMemory();
  HEADWISE_ASSIGN_OR_RETURN(memory_,
                            DeviceMemory::Allocate(queue_.device(), num_bytes));
  return absl::OkStatus();
}

void BatchTables::ListRows(const RowBatch& batch) {
  const int64_t g = shape_.heads_per_kv_head;
  host_ = {};
  num_pieces_ = static_cast<int64_t>(batch.pieces.size());
  num_ranges_ = 0;
  for (int64_t row = 0; row < batch.num_rows; ++row) {
    host_.rope_positions.push_back(static_cast<double>(batch.positions[row]));
    host_.visible_end.insert(host_.visible_end.end(), static_cast<size_t>(g),
                             batch.positions[row] + 1);
  }
  for (const BatchPiece& piece : batch.pieces) {
    const int64_t context_len = piece.first_position + piece.num_rows;
    host_.piece_of_row.insert(host_.piece_of_row.end(),
                              static_cast<size_t>(piece.num_rows),
                              static_cast<int64_t>(host_.pieces.size()));
    host_.pieces.push_back({piece.first_row, piece.num_rows, context_len});
    num_ranges_ = std::max(num_ranges_, NumRanges(context_len));
  }
  wave_width_ = std::min(num_ranges_, kMaxBatchRows / batch.num_rows);
  host_.first_attends = {0};
  for (int64_t i = 0; i < shape_.max_units * wave_width_; ++i) {
    for (const cuda::DevicePiece& piece : host_.pieces) {
      const int64_t num_blocks =
          (piece.num_rows * g + cuda::kAttendRows - 1) / cuda::kAttendRows;
      host_.first_attends.push_back(host_.first_attends.back() + num_blocks);
    }
    if (i == 0) blocks_per_range_ = host_.first_attends.back();
  }
}

void BatchTables::ListBlocks(const PieceStates& pieces) {
  const size_t num_units = pieces.empty() ? 0 : pieces[0].kv->units.size();
  for (size_t unit = 0; unit < num_units; ++unit) {
    for (const PieceState& piece : pieces) {
      host_.first_blocks.push_back(static_cast<int64_t>(host_.blocks.size()));
      const std::vector<uint8_t*>& blocks = piece.kv->units[unit].blocks;
      host_.blocks.insert(host_.blocks.end(), blocks.begin(), blocks.end());
    }
  }
}

template <class T>
const T* BatchTables::Put(const std::vector<T>& values, Carver* carver) {
  const auto count = static_cast<int64_t>(values.size());
  T* to = carver->Take<T>(count);
  queue_.CopyIn(to, values.data(), count);
  return to;
}

void BatchTables::Upload(const RowBatch& batch, const PieceStates& states) {
  ListRows(batch);
  ListBlocks(states);
  queue_.Fail(Reserve(static_cast<int64_t>(host_.blocks.size())));
  if (!queue_.status().ok()) return;
  Carver carver(memory_.data());
  rope_positions = Put(host_.rope_positions, &carver);
  positions = Put(batch.positions, &carver);
  piece_of_row = Put(host_.piece_of_row, &carver);
  visible_end = Put(host_.visible_end, &carver);
  pieces = Put(host_.pieces, &carver);
  first_attends = Put(host_.first_attends, &carver);
  blocks_ = Put(host_.blocks, &carver);
  first_blocks_ = Put(host_.first_blocks, &carver);
}

cuda::BlockTables BatchTables::BlocksOf(int64_t layer) const {
  cuda::BlockTables tables;
  tables.layout = shape_.layout;
  tables.blocks = blocks_;
  tables.first_blocks = first_blocks_ + shape_.first_unit[layer] * num_pieces_;
  tables.num_pieces = num_pieces_;
  return tables;
}

}  // namespace headwise
