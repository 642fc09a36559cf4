#include "worker/backends/cuda/host_device.h"
#include "worker/gpu_executor/gpu_executor_fixture.h"

namespace headwise {

std::unique_ptr<cuda::Device> NewTestedDevice() {
  return std::make_unique<cuda::HostDevice>(int64_t{1} << 30);
}

}  // namespace headwise
