// How a kernel of the GPU is written, so that a CPU can run it too.
//
// A kernel K is a struct of static functions over plain arguments:
//
//   using Args = ...;                    copied to the device by value
//   struct Shared { ... };               of one block
//   static constexpr int kNumThreads;    of a block
//   static constexpr int kNumPhases;     of a round; 0: there are no rounds
//   Begin(at, shared), End(at, shared)
//   NumRounds(args, block)               with phases: rounds of this block
//   Phase<p>(at, shared)                 with phases: p in [0, kNumPhases)
//
// The threads of a block meet after Begin and after every phase; between two
// meetings none reads what another writes, so one after the other may run them.
// What must last from one phase to the next lies in Shared.
//
// Arithmetic is that of scalar.h, in the orders that backends/cpu/kernels.h
// states: the bits are those of the CPU's kernels.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_KERNEL_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_KERNEL_H_

#include <cstdint>

#include "worker/backends/cuda/scalar.h"

namespace headwise::cuda {

// One thread's place.
template <class Args>
struct At {
  const Args& args;
  int64_t block;
  int thread;
  int64_t round;
};

// For kernels without rounds.
struct NoShared {};

// Of calls that run as one launch, the one that a block belongs to: the blocks
// of call c are [first_blocks[c], first_blocks[c + 1]), ascending from 0.
HEADWISE_ANYWHERE int64_t CallOf(const int64_t* first_blocks, int64_t num_calls,
                                 int64_t block) {
  int64_t low = 0;
  int64_t high = num_calls;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (first_blocks[middle] <= block ? low : high) = middle;
  }
  return low;
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_KERNEL_H_
