// The tables of kernels that a test program compares: those of this machine's
// instruction sets, or those of a GPU beside one of them.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_TESTED_KERNELS_H_
#define HEADWISE_WORKER_BACKENDS_CPU_TESTED_KERNELS_H_

#include <ostream>
#include <vector>

#include "worker/backends/cpu/kernels.h"

namespace headwise {

struct TestedKernels {
  const char* name;
  const Kernels* kernels;
};

// For GoogleTest's messages.
inline void PrintTo(const TestedKernels& tested, std::ostream* out) {
  *out << tested.name;
}

// At least one; all must give the bits of the first. Each test program has its
// own definition.
const std::vector<TestedKernels>& AllTestedKernels();

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_TESTED_KERNELS_H_
