#include "base/check.h"
#include "worker/backends/cuda/cuda_device.h"
#include "worker/gpu_executor/gpu_executor_fixture.h"

namespace headwise {

// Each with a stream of its own on the first GPU.
std::unique_ptr<cuda::Device> NewTestedDevice() {
  absl::StatusOr<std::unique_ptr<cuda::Device>> device =
      cuda::OpenCudaDevice(0);
  EXPECT_TRUE(device.ok()) << device.status();
  HEADWISE_CHECK(device.ok());
  return *std::move(device);
}

}  // namespace headwise
