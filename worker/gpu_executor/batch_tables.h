// What a device must know of a batch: positions, pieces, where blocks lie.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_BATCH_TABLES_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_BATCH_TABLES_H_

#include <cstdint>
#include <vector>

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cuda/step_kernels.h"
#include "worker/executor/layer_runner.h"
#include "worker/executor/row_batch.h"
#include "worker/gpu_executor/device_queue.h"
#include "worker/gpu_executor/unit_views.h"

namespace headwise {

struct BatchShape {
  struct Unit {
    int64_t layer = 0;
    int64_t kv_head = 0;
  };
  KvLayout layout;
  int64_t heads_per_kv_head = 1;
  std::vector<Unit> units;          // of the rank
  std::vector<int64_t> first_unit;  // [layers] index in `units`
  int64_t max_units = 0;            // of a layer
};

// Of one lane; Upload replaces what was there. All pointers are the device's,
// valid until the next Upload.
//
// Tables of blocks go anew with every batch: 8 bytes over the bus for each
// block of a unit, of which attention reads 16 KiB and more.
class BatchTables {
 public:
  // `queue` outlives the tables.
  BatchTables(BatchShape shape, DeviceQueue& queue)
      : shape_(std::move(shape)), queue_(queue) {}

  // Reserves room for the tables of `num_blocks` blocks where every unit sees
  // everything. Errors are the device's.
  absl::Status Reserve(int64_t num_blocks);
  // What Reserve takes.
  static int64_t BytesOf(const BatchShape& shape, int64_t num_blocks);

  // Takes more of the device's memory where it must. An error stays in the
  // queue.
  void Upload(const RowBatch& batch, const PieceStates& pieces);

  int64_t num_pieces() const { return num_pieces_; }
  // The most parts that rows of a layer see, and how many of them make a wave.
  int64_t num_parts(int64_t layer) const;
  int64_t wave_width() const { return wave_width_; }
  // CTAs that attend to one part of one unit, for all pieces.
  int64_t blocks_per_part() const { return blocks_per_part_; }

  const double* rope_positions = nullptr;     // [rows]
  const int64_t* positions = nullptr;         // [rows]
  const int64_t* piece_of_row = nullptr;      // [rows]
  const int64_t* visible_end = nullptr;       // [rows][g]
  const cuda::DevicePiece* pieces = nullptr;  // [pieces]
  // [units * wave_width * pieces + 1], as AttendManyArgs has them.
  const int64_t* first_attends = nullptr;
  cuda::BlockTables BlocksOf(int64_t layer) const;
  cuda::ViewTables ViewsOf(int64_t layer) const;
  // [units][pieces][g] of the layer: 0 for heads of uniform attention, else 1;
  // what outputs are multiplied by. nullptr: 1 for all.
  const float* QueryFactorsOf(int64_t layer) const;
  const float* OutputFactorsOf(int64_t layer) const;

 private:
  struct HostTables {
    std::vector<double> rope_positions;
    std::vector<int64_t> positions;
    std::vector<int64_t> piece_of_row;
    std::vector<int64_t> visible_end;
    std::vector<cuda::DevicePiece> pieces;
    std::vector<int64_t> first_attends;
    std::vector<uint8_t*> blocks;
    std::vector<int64_t> first_blocks;  // [units of the rank][pieces]
    UnitViews views;
    std::vector<float> query_factors;   // [units of the rank][pieces][g]
    std::vector<float> output_factors;  // the same; both, or neither
  };
  void ListRows(const RowBatch& batch);
  void ListBlocks(const PieceStates& pieces);
  void ListFactors(const PieceStates& pieces);
  void ListAttends(int64_t num_rows);
  // Copies all tables to where the carver has them, if it has memory.
  void Put(Carver* carver);
  template <class T>
  const T* PutOne(const std::vector<T>& values, Carver* carver);
  const float* FactorsOf(const float* factors, int64_t layer) const;

  const BatchShape shape_;
  DeviceQueue& queue_;
  DeviceMemory memory_;
  HostTables host_;
  int64_t num_pieces_ = 0;
  int64_t wave_width_ = 1;
  int64_t blocks_per_part_ = 0;
  uint8_t* const* blocks_ = nullptr;
  const int64_t* first_blocks_ = nullptr;
  cuda::ViewTables views_;  // of the rank's units
  const float* query_factors_ = nullptr;
  const float* output_factors_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_BATCH_TABLES_H_
