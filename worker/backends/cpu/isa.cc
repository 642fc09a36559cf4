#include "worker/backends/cpu/isa.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

namespace {

std::vector<Isa> Detect() {
  std::vector<Isa> isas;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c")) {
    return isas;
  }
  isas.push_back(Isa::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    isas.push_back(Isa::kAvx512);
  }
  return isas;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
  }
  return "unknown";
}

const std::vector<Isa>& IsasOfThisMachine() {
  static const std::vector<Isa>* const isas = new std::vector<Isa>(Detect());
  return *isas;
}

absl::StatusOr<Isa> ParseIsa(const std::string& text) {
  const std::vector<Isa>& present = IsasOfThisMachine();
  if (present.empty()) {
    return absl::FailedPreconditionError(
        "this CPU lacks AVX2, FMA or F16C, the least that Headwise needs");
  }
  if (text == "best") return present.back();
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (text != IsaName(isa)) continue;
    for (Isa have : present) {
      if (have == isa) return isa;
    }
    return absl::FailedPreconditionError(
        absl::StrCat("isa ", text, ": this machine has only up to ",
                     IsaName(present.back())));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("isa '", text, "': expected avx2, avx512, amx or best"));
}

const Kernels& KernelsFor(Isa isa) {
  return isa == Isa::kAvx2 ? kAvx2Kernels : kAvx512Kernels;
}

}  // namespace headwise
