// Runs a kernel of the GPU on the CPU, thread by thread: for its tests.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_RUN_ON_HOST_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_RUN_ON_HOST_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "worker/backends/cuda/kernel.h"

namespace headwise::cuda {

// In which blocks, and threads between two meetings, come one after the other:
// whatever it is, a kernel that keeps to kernel.h gives the same.
enum class HostOrder : uint8_t { kForwards, kBackwards };

template <class K, int kPhase>
void RunPhaseOnHost(const typename K::Args& args, int64_t block, int64_t round,
                    typename K::Shared& shared, HostOrder order) {
  for (int i = 0; i < K::kNumThreads; ++i) {
    const int thread =
        order == HostOrder::kForwards ? i : K::kNumThreads - 1 - i;
    K::template Phase<kPhase>({args, block, thread, round}, shared);
  }
}

template <class K, int... kPhases>
void RunRoundOnHost(const typename K::Args& args, int64_t block, int64_t round,
                    typename K::Shared& shared, HostOrder order,
                    std::integer_sequence<int, kPhases...>) {
  (RunPhaseOnHost<K, kPhases>(args, block, round, shared, order), ...);
}

template <class K>
void RunOnHost(const typename K::Args& args, int64_t num_blocks,
               HostOrder order = HostOrder::kForwards) {
  for (int64_t b = 0; b < num_blocks; ++b) {
    const int64_t block =
        order == HostOrder::kForwards ? b : num_blocks - 1 - b;
    const auto shared = std::make_unique<typename K::Shared>();
    for (int i = 0; i < K::kNumThreads; ++i) {
      const int thread =
          order == HostOrder::kForwards ? i : K::kNumThreads - 1 - i;
      K::Begin({args, block, thread, 0}, *shared);
    }
    if constexpr (K::kNumPhases > 0) {
      const int64_t num_rounds = K::NumRounds(args, block);
      for (int64_t round = 0; round < num_rounds; ++round) {
        RunRoundOnHost<K>(args, block, round, *shared, order,
                          std::make_integer_sequence<int, K::kNumPhases>());
      }
    }
    for (int i = 0; i < K::kNumThreads; ++i) {
      const int thread =
          order == HostOrder::kForwards ? i : K::kNumThreads - 1 - i;
      K::End({args, block, thread, 0}, *shared);
    }
  }
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_RUN_ON_HOST_H_
