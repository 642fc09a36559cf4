#include "worker/backends/cpu/tested_kernels.h"

#include "worker/backends/cpu/isa.h"

namespace headwise {

const std::vector<TestedKernels>& AllTestedKernels() {
  static const std::vector<TestedKernels>* const all = [] {
    auto* tables = new std::vector<TestedKernels>();
    for (const Isa isa : IsasOfThisMachine()) {
      tables->push_back({IsaName(isa), &KernelsFor(isa)});
    }
    return tables;
  }();
  return *all;
}

}  // namespace headwise
