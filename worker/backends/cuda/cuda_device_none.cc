#include "worker/backends/cuda/cuda_device.h"

namespace headwise::cuda {

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int) {
  return absl::UnimplementedError("GPUs: this build has no CUDA");
}

}  // namespace headwise::cuda
