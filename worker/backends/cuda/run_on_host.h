// Runs a kernel of the GPU on the CPU, thread by thread: for its tests.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_RUN_ON_HOST_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_RUN_ON_HOST_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "worker/backends/cuda/kernel.h"

namespace headwise::cuda {

template <class K, int kPhase>
void RunPhaseOnHost(const typename K::Args& args, int64_t block, int64_t round,
                    typename K::Shared& shared) {
  for (int thread = 0; thread < K::kNumThreads; ++thread) {
    K::template Phase<kPhase>({args, block, thread, round}, shared);
  }
}

template <class K, int... kPhases>
void RunRoundOnHost(const typename K::Args& args, int64_t block, int64_t round,
                    typename K::Shared& shared,
                    std::integer_sequence<int, kPhases...>) {
  (RunPhaseOnHost<K, kPhases>(args, block, round, shared), ...);
}

template <class K>
void RunOnHost(const typename K::Args& args, int64_t num_blocks) {
  for (int64_t block = 0; block < num_blocks; ++block) {
    const auto shared = std::make_unique<typename K::Shared>();
    for (int thread = 0; thread < K::kNumThreads; ++thread) {
      K::Begin({args, block, thread, 0}, *shared);
    }
    if constexpr (K::kNumPhases > 0) {
      const int64_t num_rounds = K::NumRounds(args, block);
      for (int64_t round = 0; round < num_rounds; ++round) {
        RunRoundOnHost<K>(args, block, round, *shared,
                          std::make_integer_sequence<int, K::kNumPhases>());
      }
    }
    for (int thread = 0; thread < K::kNumThreads; ++thread) {
      K::End({args, block, thread, 0}, *shared);
    }
  }
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_RUN_ON_HOST_H_
