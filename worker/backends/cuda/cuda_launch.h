// Starts any kernel on a stream of CUDA's; compiled by nvcc.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_CUDA_LAUNCH_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_CUDA_LAUNCH_H_

#include <cuda_runtime_api.h>

#include "worker/backends/cuda/kernel_call.h"

namespace headwise::cuda {

// Enqueues on the present device. An error is that of the launch, or of what
// ran before it.
cudaError_t LaunchOn(const KernelCall& call, cudaStream_t stream);

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_CUDA_LAUNCH_H_
