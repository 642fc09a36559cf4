// AVX-512 with VNNI: compiled with those flags alone. Nothing here may call an
// inline function of the standard library: the linker could keep this copy of
// it for the whole program.
#define HEADWISE_ISA_NAMESPACE headwise::avx512

#include "worker/backends/cpu/lanes_avx512.h"
#include "worker/backends/cpu/memory_kernels.h"

namespace headwise::avx512 {
namespace {
// A tile's sums: 24 of 32 registers for six rows.
constexpr int kTileRows = 6;
constexpr int TileCols(int) { return 4; }
}  // namespace
}  // namespace headwise::avx512

#include "worker/backends/cpu/memory_table_inl.h"

namespace headwise {

extern const MemoryKernels kAvx512MemoryKernels;
const MemoryKernels kAvx512MemoryKernels =
    avx512::MakeMemoryTable(Isa::kAvx512);

}  // namespace headwise
