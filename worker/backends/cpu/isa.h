// Which instruction set the kernels use.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_ISA_H_
#define HEADWISE_WORKER_BACKENDS_CPU_ISA_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headwise {

// Ascending: each needs all that the ones before it need. The bits are equal.
enum class Isa {
  kAvx2,    // AVX2, FMA, F16C: the least we run on
  kAvx512,  // AVX-512 F, BW, DQ, VL and VNNI
  kAmx,     // the above and AMX int8 tiles
};

const char* IsaName(Isa isa);  // "avx2", "avx512", "amx"

// What this CPU and kernel offer, ascending; empty if not even AVX2. AMX is
// listed only after its tiles gave the right product in a trial.
const std::vector<Isa>& IsasOfThisMachine();

// "best", or a name. InvalidArgument for another text; FailedPrecondition if
// this machine lacks it.
absl::StatusOr<Isa> ParseIsa(const std::string& text);

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_ISA_H_
