// AVX2, FMA and F16C: compiled with those flags alone. Nothing here may call an
// inline function of the standard library: the linker could keep this copy of
// it for the whole program.
#define HEADWISE_ISA_NAMESPACE headwise::avx2

#include "worker/backends/cpu/dot_avx2.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise::avx2 {
namespace {
// Tiles of 16 keys, and vectors of 16 values, that a row tile holds in
// registers.
constexpr int kScoreColumns = 1;
constexpr int kValueVectors = 1;
}  // namespace
}  // namespace headwise::avx2

#include "worker/backends/cpu/table_inl.h"

namespace headwise {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = avx2::MakeTable(Isa::kAvx2);

}  // namespace headwise
