// Which device runs a worker's layers: --device.

#ifndef HEADWISE_WORKER_SERVICE_DEVICE_CHOICE_H_
#define HEADWISE_WORKER_SERVICE_DEVICE_CHOICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backends/cuda/device.h"
#include "worker/collectives/nccl_communicator.h"
#include "worker/service/worker_node.h"

namespace headwise {

// What is left to NCCL of a GPU: its buffers for each peer and channel, which
// nobody has measured here, and our staging memory, 260 MiB at 64 ranks.
inline constexpr int64_t kNcclBytes = int64_t{1} << 30;

// "cpu": null, or "cuda:N": GPU number N of this machine. InvalidArgument for
// any other text, or for a GPU that is not there; Unimplemented in a program
// without CUDA; FailedPrecondition without a driver.
absl::StatusOr<std::unique_ptr<cuda::Device>> OpenDevice(
    const std::string& choice);

// Has the node form groups over NCCL on the chosen device as well. Returns what
// to tell of it; nothing, and the node stays as it is, on the CPU and in a
// program without NCCL. Errors are OfferNccl's.
absl::StatusOr<NcclOffer> UseNccl(const std::string& choice,
                                  WorkerNodeOptions* options);

// Tells NCCL, where the operator has not, what docs/operations.md says. Before
// any thread starts.
void SetNcclDefaults();

// Has the node's executors run on `device`, which outlives the node. Without a
// limit of their own they have what is available of it now, less kNcclBytes if
// the node has NCCL. Unimplemented for options that such executors have not.
absl::Status RunOnDevice(cuda::Device& device, WorkerNodeOptions* options);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_DEVICE_CHOICE_H_
