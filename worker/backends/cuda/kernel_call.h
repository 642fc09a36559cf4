// Any kernel with its arguments: what a device can be asked to run.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_KERNEL_CALL_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_KERNEL_CALL_H_

#include <cstdint>
#include <iterator>
#include <type_traits>
#include <variant>

#include "worker/backends/cuda/attend_kernel.h"
#include "worker/backends/cuda/cache_kernels.h"
#include "worker/backends/cuda/product_kernel.h"
#include "worker/backends/cuda/row_kernels.h"
#include "worker/backends/cuda/step_kernels.h"

namespace headwise::cuda {

// Pointers in `args`, and in what they point to, are the device's.
template <class K>
struct Call {
  using Kernel = K;
  typename K::Args args;
  int64_t num_blocks = 0;  // none: nothing is to be done
};

// Matrix products of whatever format all of their weights have.
struct ProductsCall {
  PackedFormat format = PackedFormat::kFp32;
  MatMulManyArgs args;
  int64_t num_blocks = 0;
};

using KernelCall =
    std::variant<ProductsCall, Call<RmsNorm>, Call<Quantize>, Call<RopeAngles>,
                 Call<SiluMultiply>, Call<AddFixedPoint>, Call<AddBias>,
                 Call<ScaleHeads>, Call<RotateHeads>, Call<ListAppends>,
                 Call<Append>, Call<ListAttends>, Call<Attend>,
                 Call<MergeParts>>;

// For errors, in the order of the alternatives.
inline constexpr const char* kKernelNames[] = {
    "matmul",        "rms_norm",        "quantize", "rope_angles",
    "silu_multiply", "add_fixed_point", "add_bias", "scale_heads",
    "rotate_heads",  "list_appends",    "append",   "list_attends",
    "attend",        "merge_parts"};
static_assert(std::size(kKernelNames) == std::variant_size_v<KernelCall>);

inline const char* NameOf(const KernelCall& call) {
  return kKernelNames[call.index()];
}

// Calls run.operator()<K>(args, num_blocks) with the kernel of the call.
template <class Run>
void WithKernelOf(const KernelCall& call, const Run& run) {
  std::visit(
      [&run]<class C>(const C& c) {
        if constexpr (std::is_same_v<C, ProductsCall>) {
          WithProductOf(c.format, [&]<class K>() {
            run.template operator()<ManyProducts<K>>(c.args, c.num_blocks);
          });
        } else {
          run.template operator()<typename C::Kernel>(c.args, c.num_blocks);
        }
      },
      call);
}

// A kernel that has its number of items in its arguments.
template <class K>
Call<K> ItemsOf(const typename K::Args& args) {
  return {args, K::NumBlocks(args)};
}

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_KERNEL_CALL_H_
