// Opens the twin of a GPU on the host as if it were one: what headwise-worker
// is linked with to become headwise-worker-twin. Of --device cuda:N, N > 0 is
// the number of the call that fails, as do all after it.

#include <memory>

#include "worker/backends/cuda/cuda_device.h"
#include "worker/backends/cuda/host_device.h"

namespace headwise::cuda {

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int ordinal) {
  auto device = std::make_unique<HostDevice>(int64_t{256} << 20);
  device->FailCall(ordinal);
  return device;
}

}  // namespace headwise::cuda
