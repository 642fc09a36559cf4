#include "worker/backends/cpu/isa.h"
#include "worker/backends/cpu/tested_kernels.h"
#include "worker/backends/cuda/host_twin.h"

namespace headwise {

const std::vector<TestedKernels>& AllTestedKernels() {
  static const std::vector<TestedKernels> all = {
      {"avx2", &KernelsFor(Isa::kAvx2)}, {"cuda_twin", &cuda::HostTwin()}};
  return all;
}

}  // namespace headwise
