// The GPU's kernels as a table of the CPU: for tests of their bits on a GPU.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_DEVICE_TABLE_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_DEVICE_TABLE_H_

#include "worker/backends/cpu/kernels.h"

namespace headwise::cuda {

// Each call takes its arguments to the GPU, runs one kernel and takes the
// results back. Ends the process, naming the call, where CUDA reports an error.
// `isa` means nothing.
const Kernels& DeviceTable();

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_DEVICE_TABLE_H_
