// Starts kernels on a stream. For .cu files.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_LAUNCH_CUH_
#define HEADWISE_WORKER_BACKENDS_CUDA_LAUNCH_CUH_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "worker/backends/cuda/kernel.h"

namespace headwise::cuda {

template <class K, int... kPhases>
__device__ __forceinline__ void RunRound(
    const typename K::Args& args, int64_t round, typename K::Shared& shared,
    std::integer_sequence<int, kPhases...>) {
  ((K::template Phase<kPhases>(
        {args, blockIdx.x, static_cast<int>(threadIdx.x), round}, shared),
    __syncthreads()),
   ...);
}

template <class K>
__global__ void __launch_bounds__(K::kNumThreads)
    KernelOf(const __grid_constant__ typename K::Args args) {
  __shared__ typename K::Shared shared;
  const At<typename K::Args> at = {args, blockIdx.x,
                                   static_cast<int>(threadIdx.x), 0};
  K::Begin(at, shared);
  __syncthreads();
  if constexpr (K::kNumPhases > 0) {
    const int64_t num_rounds = K::NumRounds(args, blockIdx.x);
    for (int64_t round = 0; round < num_rounds; ++round) {
      RunRound<K>(args, round, shared,
                  std::make_integer_sequence<int, K::kNumPhases>());
    }
  }
  K::End(at, shared);
}

// Enqueues; pointers in `args` are the device's. No blocks are nothing to do.
template <class K>
cudaError_t Launch(const typename K::Args& args, int64_t num_blocks,
                   cudaStream_t stream) {
  if (num_blocks <= 0) return cudaSuccess;
  if (num_blocks > std::numeric_limits<int32_t>::max()) {
    return cudaErrorInvalidConfiguration;
  }
  KernelOf<K><<<static_cast<unsigned>(num_blocks), K::kNumThreads, 0, stream>>>(
      args);
  return cudaGetLastError();
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_LAUNCH_CUH_
