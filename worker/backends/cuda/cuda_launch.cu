#include "worker/backends/cuda/cuda_launch.h"
#include "worker/backends/cuda/launch.cuh"

namespace headwise::cuda {

cudaError_t LaunchOn(const KernelCall& call, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  WithKernelOf(call,
               [&]<class K>(const typename K::Args& args, int64_t num_blocks) {
                 error = Launch<K>(args, num_blocks, stream);
               });
  return error;
}

}  // namespace headwise::cuda
