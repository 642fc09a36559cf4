// Which device runs a worker's layers: --device.

#ifndef HEADWISE_WORKER_SERVICE_DEVICE_CHOICE_H_
#define HEADWISE_WORKER_SERVICE_DEVICE_CHOICE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backends/cuda/device.h"
#include "worker/service/worker_node.h"

namespace headwise {

// "cpu": null, or "cuda:N": GPU number N of this machine. InvalidArgument for
// any other text, or for a GPU that is not there; Unimplemented in a program
// without CUDA; FailedPrecondition without a driver.
absl::StatusOr<std::unique_ptr<cuda::Device>> OpenDevice(
    const std::string& choice);

// Has the node's executors run on `device`, which outlives the node. Without a
// limit of their own they have what is available of it now. Unimplemented for
// options that such executors have not.
absl::Status RunOnDevice(cuda::Device& device, WorkerNodeOptions* options);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_DEVICE_CHOICE_H_
