#include "worker/backends/cpu/memory_kernels.h"

namespace headwise {

extern const MemoryKernels kAvx2MemoryKernels;
extern const MemoryKernels kAvx512MemoryKernels;

// AMX has tiles of int8 alone: memories are fp32, so it adds nothing here.
const MemoryKernels& MemoryKernelsFor(Isa isa) {
  return isa == Isa::kAvx2 ? kAvx2MemoryKernels : kAvx512MemoryKernels;
}

}  // namespace headwise
