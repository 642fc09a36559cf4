// The sizes that placement needs, read from a model.

#ifndef HEADWISE_SERVER_DISPATCH_MODEL_SHAPE_H_
#define HEADWISE_SERVER_DISPATCH_MODEL_SHAPE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "model/model.h"
#include "server/placement/planner.h"

namespace headwise {

// Bytes of keys and values of one unit per position, as the workers store them
// (worker/executor's KvBytesPerPosition; a test compares the two).
// InvalidArgument if `kv_type` is none of fp32, fp16, bf16, int8.
absl::StatusOr<int64_t> KvBytesOf(const std::string& kv_type, int64_t head_dim);

// Weight bytes are those of the file, means over layers rounded up; a worker's
// packed weights differ by a few per cent and are told by its Prepare.
absl::StatusOr<ModelShape> MakeModelShape(const Model& model,
                                          const std::string& kv_type);

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_MODEL_SHAPE_H_
