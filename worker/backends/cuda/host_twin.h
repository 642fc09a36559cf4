// The GPU's kernels as a table of the CPU: for tests of their bits without a
// GPU.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_HOST_TWIN_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_HOST_TWIN_H_

#include "worker/backends/cpu/kernels.h"

namespace headwise::cuda {

// Runs every kernel thread by thread on the calling thread; slow. `isa` means
// nothing.
const Kernels& HostTwin();

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_HOST_TWIN_H_
