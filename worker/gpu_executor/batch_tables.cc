#include "worker/gpu_executor/batch_tables.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace headwise {
namespace {

// Calls of one layer and wave: as many rows as a full batch has.
int64_t MaxCalls(const BatchShape& shape) {
  return shape.max_units * kMaxBatchRows;
}

}  // namespace

int64_t BatchTables::BytesOf(const BatchShape& shape, int64_t num_blocks) {
  const auto num_units = static_cast<int64_t>(shape.units.size());
  Carver carver(nullptr);
  carver.Take<double>(kMaxBatchRows);
  carver.Take<int64_t>(kMaxBatchRows);
  carver.Take<int64_t>(kMaxBatchRows);
  carver.Take<int64_t>(kMaxBatchRows * shape.heads_per_kv_head);
  carver.Take<cuda::DevicePiece>(kMaxBatchRows);
  carver.Take<int64_t>(MaxCalls(shape) + 1);
  carver.Take<uint8_t*>(num_blocks);
  carver.Take<int64_t>(num_units * kMaxBatchRows);
  carver.Take<cuda::UnitView>(kMaxBatchRows);
  carver.Take<int64_t>(num_units * kMaxBatchRows);
  return carver.num_bytes();
}

absl::Status BatchTables::Reserve(int64_t num_blocks) {
  HEADWISE_ASSIGN_OR_RETURN(
      memory_,
      DeviceMemory::Allocate(queue_.device(), BytesOf(shape_, num_blocks)));
  return absl::OkStatus();
}

void BatchTables::ListRows(const RowBatch& batch) {
  host_.positions = batch.positions;
  for (int64_t row = 0; row < batch.num_rows; ++row) {
    host_.rope_positions.push_back(static_cast<double>(batch.positions[row]));
    host_.visible_end.insert(host_.visible_end.end(),
                             static_cast<size_t>(shape_.heads_per_kv_head),
                             batch.positions[row] + 1);
  }
  for (const BatchPiece& piece : batch.pieces) {
    host_.piece_of_row.insert(host_.piece_of_row.end(),
                              static_cast<size_t>(piece.num_rows),
                              static_cast<int64_t>(host_.pieces.size()));
    host_.pieces.push_back({piece.first_row, piece.num_rows,
                            piece.first_position + piece.num_rows});
  }
}

void BatchTables::ListBlocks(const PieceStates& pieces) {
  for (size_t unit = 0; unit < shape_.units.size(); ++unit) {
    for (const PieceState& piece : pieces) {
      host_.first_blocks.push_back(static_cast<int64_t>(host_.blocks.size()));
      const std::vector<uint8_t*>& blocks = piece.kv->units[unit].blocks;
      host_.blocks.insert(host_.blocks.end(), blocks.begin(), blocks.end());
    }
  }
}

void BatchTables::ListFactors(const PieceStates& pieces) {
  const int64_t g = shape_.heads_per_kv_head;
  bool are_all_one = true;
  for (const BatchShape::Unit& unit : shape_.units) {
    for (const PieceState& piece : pieces) {
      for (int64_t h = 0; h < g; ++h) {
        QueryHeadPlan head;
        if (piece.kv->plan != nullptr) {
          head = piece.kv->plan->head(unit.layer, unit.kv_head * g + h);
        }
        const bool is_uniform = head.mask == HeadMask::kUniform;
        const float scale =
            head.mask == HeadMask::kZero ? 0.0f : head.output_scale;
        host_.query_factors.push_back(is_uniform ? 0.0f : 1.0f);
        host_.output_factors.push_back(scale);
        are_all_one = are_all_one && !is_uniform && scale == 1.0f;
      }
    }
  }
  if (!are_all_one) return;
  host_.query_factors.clear();
  host_.output_factors.clear();
}

void BatchTables::ListAttends(int64_t num_rows) {
  const std::vector<int64_t>& num_parts = host_.views.num_parts;
  const int64_t most =
      num_parts.empty() ? 1
                        : *std::max_element(num_parts.begin(), num_parts.end());
  wave_width_ = std::min(most, kMaxBatchRows / num_rows);
  blocks_per_part_ = 0;
  host_.first_attends = {0};
  for (int64_t i = 0; i < shape_.max_units * wave_width_; ++i) {
    for (const cuda::DevicePiece& piece : host_.pieces) {
      const int64_t num_blocks =
          (piece.num_rows * shape_.heads_per_kv_head + cuda::kAttendRows - 1) /
          cuda::kAttendRows;
      host_.first_attends.push_back(host_.first_attends.back() + num_blocks);
    }
    if (i == 0) blocks_per_part_ = host_.first_attends.back();
  }
}

template <class T>
const T* BatchTables::PutOne(const std::vector<T>& values, Carver* carver) {
  const auto count = static_cast<int64_t>(values.size());
  T* to = carver->Take<T>(count);
  if (to != nullptr) queue_.CopyIn(to, values.data(), count);
  return to;
}

void BatchTables::Put(Carver* carver) {
  rope_positions = PutOne(host_.rope_positions, carver);
  positions = PutOne(host_.positions, carver);
  piece_of_row = PutOne(host_.piece_of_row, carver);
  visible_end = PutOne(host_.visible_end, carver);
  pieces = PutOne(host_.pieces, carver);
  first_attends = PutOne(host_.first_attends, carver);
  blocks_ = PutOne(host_.blocks, carver);
  first_blocks_ = PutOne(host_.first_blocks, carver);
  views_.views = PutOne(host_.views.views, carver);
  views_.view_of = PutOne(host_.views.view_of, carver);
  views_.bounds = PutOne(host_.views.bounds, carver);
  views_.num_pieces = num_pieces_;
  query_factors_ = PutOne(host_.query_factors, carver);
  output_factors_ = PutOne(host_.output_factors, carver);
}

void BatchTables::Upload(const RowBatch& batch, const PieceStates& states) {
  host_ = {};
  num_pieces_ = static_cast<int64_t>(batch.pieces.size());
  ListRows(batch);
  ListBlocks(states);
  host_.views = MakeUnitViews(batch, states, shape_.heads_per_kv_head);
  ListFactors(states);
  ListAttends(batch.num_rows);
  Carver count(nullptr);
  Put(&count);
  if (count.num_bytes() > memory_.num_bytes()) {
    memory_ = DeviceMemory();
    absl::StatusOr<DeviceMemory> larger =
        DeviceMemory::Allocate(queue_.device(), count.num_bytes());
    if (!larger.ok()) return queue_.Fail(larger.status());
    memory_ = *std::move(larger);
  }
  Carver carver(memory_.data());
  Put(&carver);
}

int64_t BatchTables::num_parts(int64_t layer) const {
  int64_t most = 0;
  for (size_t unit = 0; unit < shape_.units.size(); ++unit) {
    if (shape_.units[unit].layer != layer) continue;
    most = std::max(most, host_.views.num_parts[unit]);
  }
  return most;
}

cuda::BlockTables BatchTables::BlocksOf(int64_t layer) const {
  cuda::BlockTables tables;
  tables.layout = shape_.layout;
  tables.blocks = blocks_;
  tables.first_blocks = first_blocks_ + shape_.first_unit[layer] * num_pieces_;
  tables.num_pieces = num_pieces_;
  return tables;
}

cuda::ViewTables BatchTables::ViewsOf(int64_t layer) const {
  cuda::ViewTables tables = views_;
  tables.view_of += shape_.first_unit[layer] * num_pieces_;
  return tables;
}

const float* BatchTables::FactorsOf(const float* factors, int64_t layer) const {
  if (host_.query_factors.empty()) return nullptr;
  return factors +
         shape_.first_unit[layer] * num_pieces_ * shape_.heads_per_kv_head;
}

const float* BatchTables::QueryFactorsOf(int64_t layer) const {
  return FactorsOf(query_factors_, layer);
}

const float* BatchTables::OutputFactorsOf(int64_t layer) const {
  return FactorsOf(output_factors_, layer);
}

}  // namespace headwise
