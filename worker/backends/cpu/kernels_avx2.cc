// AVX2, FMA and F16C: compiled with those flags alone. Nothing here may call an
// inline function of the standard library: the linker could keep this copy of
// it for the whole program.
#define HEADWISE_ISA_NAMESPACE headwise::avx2

#include "worker/backends/cpu/dot_avx2.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise::avx2 {
namespace {
// Tiles of 16 keys, and vectors of 16 values, that a tile of rows adds up at
// once: two of 16 registers each.
constexpr int ScoreColumns(int num_rows) {
  return num_rows == 1 ? 4 : num_rows == 2 ? 2 : 1;
}
constexpr int ValueVectors(int num_rows) { return ScoreColumns(num_rows); }
}  // namespace
}  // namespace headwise::avx2

#include "worker/backends/cpu/table_inl.h"

namespace headwise {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = avx2::MakeTable(Isa::kAvx2);

}  // namespace headwise
