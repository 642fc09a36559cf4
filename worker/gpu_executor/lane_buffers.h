// The memory of a lane: what a batch of rows needs on a device.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_LANE_BUFFERS_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_LANE_BUFFERS_H_

#include <cstdint>

#include "worker/backends/cpu/kernels.h"
#include "worker/gpu_executor/batch_tables.h"
#include "worker/gpu_executor/device_queue.h"
#include "worker/gpu_executor/product_list.h"

namespace headwise {

// What decides how much memory a lane takes.
struct LaneShape {
  BatchShape batch;
  int64_t num_layers = 0;
  int64_t model_dim = 0;
  int64_t num_pairs = 0;     // rotary_dim / 2
  int64_t hidden_width = 0;  // the most MLP columns of a layer on this rank
  int64_t num_products = 0;  // matrices of all layers on this rank
};

// A layer's two blocks, each with a sum over ranks.
enum class GpuBlock : uint8_t { kAttention, kMlp };
inline constexpr int64_t kNumGpuBlocks = 2;

// Rows on the device as float and, for quantized weights, as int8.
struct DeviceRows {
  float* x = nullptr;  // [rows][n]
  QuantizedRow q;      // of all rows
  int64_t n = 0;

  static DeviceRows Take(int64_t num_rows, int64_t n, Carver* carver) {
    const int64_t count = num_rows * n;
    DeviceRows rows;
    rows.x = carver->Take<float>(count);
    rows.q.q = carver->Take<int8_t>(count);
    rows.q.scale = carver->Take<float>(count / 32);
    rows.q.scaled_sum = carver->Take<float>(count / 32);
    rows.q.half_offset = carver->Take<int32_t>(count / 16);
    rows.n = n;
    return rows;
  }
  // From element `first` on, in rows of `width`; multiples of 32 if the rows
  // are quantized.
  DeviceRows From(int64_t first, int64_t width) const {
    DeviceRows rows = *this;
    rows.x += first;
    rows.q.q += first;
    rows.q.scale += first / 32;
    rows.q.scaled_sum += first / 32;
    rows.q.half_offset += first / 16;
    rows.n = width;
    return rows;
  }
};

// All on the device, with room for kMaxBatchRows rows. [units] are those of a
// layer on this rank, g = heads_per_kv_head.
struct LaneBuffers {
  float* residual = nullptr;  // [rows][model_dim]
  DeviceRows normed;          // [rows][model_dim]
  float* cosines = nullptr;   // [rows][num_pairs]
  float* sines = nullptr;
  float* plain_queries = nullptr;  // [units][rows][g][head_dim], as projected
  float* plain_keys = nullptr;     // [units][rows][head_dim]
  float* queries = nullptr;        // rotated, times softmax_scale
  float* keys = nullptr;           // rotated
  float* values = nullptr;         // [units][rows][head_dim]
  AppendArgs* appends = nullptr;   // [units * rows]
  AttendArgs* attends = nullptr;   // [units * wave_width * pieces]
  float* part_out = nullptr;       // [units][wave_width][rows][g][head_dim]
  float* part_lse = nullptr;       // [units][wave_width][rows][g]
  DeviceRows mixed;                // [units][rows][g * head_dim]
  float* lse = nullptr;            // [units][rows][g]
  float* gate = nullptr;           // by tile, [rows][width of the tile]
  float* up = nullptr;             // the same
  DeviceRows hidden;               // the same
  int64_t* sums = nullptr;         // [rows][model_dim], then one flag
  ProductRoom products;
  int* flags = nullptr;  // [layers][kNumGpuBlocks]: a value was out of range

  static LaneBuffers Take(const LaneShape& shape, Carver* carver);
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_LANE_BUFFERS_H_
