// AVX-512 with VNNI: compiled with those flags alone. Nothing here may call an
// inline function of the standard library: the linker could keep this copy of
// it for the whole program.
#define HEADWISE_ISA_NAMESPACE headwise::avx512

#include "worker/backends/cpu/dot_avx512.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise::avx512 {
namespace {
// Tiles of 16 keys, and vectors of 16 values, that a tile of rows adds up at
// once: 24 of 32 registers for six rows. Four tiles are one block, so keys are
// read in one stream.
constexpr int ScoreColumns(int) { return 4; }
constexpr int ValueVectors(int num_rows) { return num_rows == 1 ? 8 : 4; }
}  // namespace
}  // namespace headwise::avx512

#include "worker/backends/cpu/table_inl.h"

namespace headwise {

extern const Kernels kAvx512Kernels;
const Kernels kAvx512Kernels = avx512::MakeTable(Isa::kAvx512);

}  // namespace headwise
