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

namespace headwise {

struct BatchShape {
  KvLayout layout;
  int64_t heads_per_kv_head = 1;
  int64_t max_units = 0;            // of a layer, on this rank
  std::vector<int64_t> first_unit;  // [layers] index in the rank's units
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

  // Reserves room for the tables of `num_blocks` blocks. Errors are the
  // device's.
  absl::Status Reserve(int64_t num_blocks);
  // What Reserve takes.
  static int64_t BytesOf(const BatchShape& shape, int64_t num_blocks);

  // An error stays in the queue.
  void Upload(const RowBatch& batch, const PieceStates& pieces);

  int64_t num_pieces() const { return num_pieces_; }
  // How many ranges the longest context has, and how many of them make a wave.
  int64_t num_ranges() const { return num_ranges_; }
  int64_t wave_width() const { return wave_width_; }
  // CTAs that attend to one range of one unit, for all pieces.
  int64_t blocks_per_range() const { return blocks_per_range_; }

  const double* rope_positions = nullptr;     // [rows]
  const int64_t* positions = nullptr;         // [rows]
  const int64_t* piece_of_row = nullptr;      // [rows]
  const int64_t* visible_end = nullptr;       // [rows][g]
  const cuda::DevicePiece* pieces = nullptr;  // [pieces]
  // [units * wave_width * pieces + 1], as AttendManyArgs has them.
  const int64_t* first_attends = nullptr;
  cuda::BlockTables BlocksOf(int64_t layer) const;

 private:
  struct HostTables {
    std::vector<double> rope_positions;
    std::vector<int64_t> piece_of_row;
    std::vector<int64_t> visible_end;
    std::vector<cuda::DevicePiece> pieces;
    std::vector<int64_t> first_attends;
    std::vector<uint8_t*> blocks;
    std::vector<int64_t> first_blocks;  // [units of the rank][pieces]
  };
  void ListRows(const RowBatch& batch);
  void ListBlocks(const PieceStates& pieces);
  template <class T>
  const T* Put(const std::vector<T>& values, Carver* carver);

  const BatchShape shape_;
  DeviceQueue& queue_;
  DeviceMemory memory_;
  HostTables host_;
  int64_t num_pieces_ = 0;
  int64_t num_ranges_ = 0;
  int64_t wave_width_ = 1;
  int64_t blocks_per_range_ = 0;
  uint8_t* const* blocks_ = nullptr;
  const int64_t* first_blocks_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_BATCH_TABLES_H_
