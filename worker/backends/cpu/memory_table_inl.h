// The table of memory kernels of one instruction set. Include last, in a
// memory_*.cc.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_MEMORY_TABLE_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_MEMORY_TABLE_INL_H_

#include "worker/backends/cpu/memory_product_inl.h"
#include "worker/backends/cpu/memory_rows_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr MemoryKernels MakeMemoryTable(Isa isa) {
  MemoryKernels table{};
  table.isa = isa;
  table.product = Product;
  table.activate = Activate;
  table.output = Output;
  table.loss_gradient = LossGradient;
  table.combine = Combine;
  table.multiply = Multiply;
  table.scale = Scale;
  table.blend = Blend;
  table.sum_of_squares = SumOfSquares;
  table.transpose = Transpose;
  return table;
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_MEMORY_TABLE_INL_H_
