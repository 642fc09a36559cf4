#include "worker/gpu_executor/lane_buffers.h"

#include "worker/executor/row_batch.h"

namespace headwise {

LaneBuffers LaneBuffers::Take(const LaneShape& shape, Carver* carver) {
  const int64_t rows = kMaxBatchRows;
  const int64_t of_units = shape.batch.max_units * rows;
  const int64_t g = shape.batch.heads_per_kv_head;
  const int64_t dim = shape.batch.layout.head_dim;
  LaneBuffers b;
  b.residual = carver->Take<float>(rows * shape.model_dim);
  b.normed = DeviceRows::Take(rows, shape.model_dim, carver);
  b.cosines = carver->Take<float>(rows * shape.num_pairs);
  b.sines = carver->Take<float>(rows * shape.num_pairs);
  b.plain_queries = carver->Take<float>(of_units * g * dim);
  b.plain_keys = carver->Take<float>(of_units * dim);
  b.queries = carver->Take<float>(of_units * g * dim);
  b.keys = carver->Take<float>(of_units * dim);
  b.values = carver->Take<float>(of_units * dim);
  b.appends = carver->Take<AppendArgs>(of_units);
  b.attends = carver->Take<AttendArgs>(of_units);
  b.part_out = carver->Take<float>(of_units * g * dim);
  b.part_lse = carver->Take<float>(of_units * g);
  b.mixed = DeviceRows::Take(of_units, g * dim, carver);
  b.lse = carver->Take<float>(of_units * g);
  b.gate = carver->Take<float>(rows * shape.hidden_width);
  b.up = carver->Take<float>(rows * shape.hidden_width);
  b.hidden = DeviceRows::Take(rows, shape.hidden_width, carver);
  b.sums = carver->Take<int64_t>(rows * shape.model_dim + 1);
  b.products = ProductRoom::Take(shape.num_products, carver);
  b.flags = carver->Take<int>(shape.num_layers * kNumGpuBlocks);
  return b;
}

}  // namespace headwise
