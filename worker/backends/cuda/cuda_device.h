// A GPU of this machine.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_CUDA_DEVICE_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_CUDA_DEVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/backends/cuda/device.h"

namespace headwise::cuda {

// CUDA's GPU number `ordinal`, with a stream of its own. Unimplemented in a
// build without CUDA; FailedPrecondition if there is no driver;
// InvalidArgument, naming how many GPUs there are, if this one is not;
// ResourceExhausted if there is no pinned memory for copies.
//
// Of what is available some is kept back, for what CUDA itself takes and for
// the rounding of allocations.
absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int ordinal);

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_CUDA_DEVICE_H_
