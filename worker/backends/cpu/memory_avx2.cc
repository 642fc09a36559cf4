// AVX2, FMA and F16C: compiled with those flags alone. Nothing here may call an
// inline function of the standard library: the linker could keep this copy of
// it for the whole program.
#define HEADWISE_ISA_NAMESPACE headwise::avx2

#include "worker/backends/cpu/lanes_avx2.h"
#include "worker/backends/cpu/memory_kernels.h"

namespace headwise::avx2 {
namespace {
// A tile's sums: twelve of 16 registers for six rows. Fewer rows get more
// columns, or each operation would wait for the one before it.
constexpr int kTileRows = 6;
constexpr int TileCols(int num_rows) {
  return num_rows == 1 ? 4 : num_rows == 2 ? 2 : 1;
}
}  // namespace
}  // namespace headwise::avx2

#include "worker/backends/cpu/memory_table_inl.h"

namespace headwise {

extern const MemoryKernels kAvx2MemoryKernels;
const MemoryKernels kAvx2MemoryKernels = avx2::MakeMemoryTable(Isa::kAvx2);

}  // namespace headwise
