// The table of kernels of one instruction set. Include last, in a kernels_*.cc.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_TABLE_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_TABLE_INL_H_

#include "worker/backends/cpu/attention_inl.h"
#include "worker/backends/cpu/matmul_inl.h"
#include "worker/backends/cpu/rows_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr Kernels MakeTable(Isa isa) {
  Kernels table;
  table.isa = isa;
  table.rms_norm = RmsNorm;
  table.quantize = Quantize;
  table.matmul = MatMul;
  table.rope_angles = RopeAngles;
  table.silu_multiply = SiluMultiply;
  table.append = Append;
  table.attend = Attend;
  table.scores = Scores;
  table.merge = Merge;
  table.add_fixed_point = AddFixedPointRow;
  table.softmax_stats = StatsOf;
  table.exp_below = ExpBelow;
  table.max_of = MaxOf;
  table.log_one = LogOne;
  table.exp_one = ExpOne;
  return table;
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_TABLE_INL_H_
