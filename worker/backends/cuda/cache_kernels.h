// Keys and values of the cache, as backends/cpu/kernels.h lays them out: one
// position's into its slot, and one element of a block as fp32.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_CACHE_KERNELS_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_CACHE_KERNELS_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cuda/kernel.h"

namespace headwise::cuda {

// Element `i` of what lies at `p`; `scale` is for int8 alone.
HEADWISE_ANYWHERE float LoadElement(KvElement element, const uint8_t* p,
                                    int64_t i, const float* scale) {
  switch (element) {
    case KvElement::kFp32:
      return reinterpret_cast<const float*>(p)[i];
    case KvElement::kFp16:
      return HalfToFloat(reinterpret_cast<const uint16_t*>(p)[i]);
    case KvElement::kBf16:
      return BrainToFloat(reinterpret_cast<const uint16_t*>(p)[i]);
    case KvElement::kInt8:
      return static_cast<float>(reinterpret_cast<const int8_t*>(p)[i]) * *scale;
  }
  return NotANumber();
}

// Keys' scales [64], then values'; int8 only.
HEADWISE_ANYWHERE const float* ScalesOf(const KvLayout& layout,
                                        const uint8_t* block) {
  return reinterpret_cast<const float*>(block + layout.scales_offset());
}

HEADWISE_ANYWHERE float LoadKey(const KvLayout& layout, const uint8_t* block,
                                int64_t slot, int64_t d) {
  return LoadElement(layout.element, block, KvLayout::kPositions * d + slot,
                     ScalesOf(layout, block) + slot);
}

HEADWISE_ANYWHERE float LoadValue(const KvLayout& layout, const uint8_t* block,
                                  int64_t slot, int64_t d) {
  return LoadElement(layout.element, block + layout.values_offset(),
                     slot * layout.head_dim + d,
                     ScalesOf(layout, block) + KvLayout::kPositions + slot);
}

// `x` as element `i` of what lies at `p`; `inverse` is 1 / scale for int8,
// whose vector has no value that is not finite.
HEADWISE_ANYWHERE void StoreElement(KvElement element, float x, float inverse,
                                    uint8_t* p, int64_t i) {
  switch (element) {
    case KvElement::kFp32:
      reinterpret_cast<float*>(p)[i] = x;
      return;
    case KvElement::kFp16:
      reinterpret_cast<uint16_t*>(p)[i] = FloatToHalf(x);
      return;
    case KvElement::kBf16:
      reinterpret_cast<uint16_t*>(p)[i] = FloatToBrain(x);
      return;
    case KvElement::kInt8:
      reinterpret_cast<int8_t*>(p)[i] = static_cast<int8_t>(
          inverse > 0.0f ? static_cast<int32_t>(Round(x * inverse)) : 0);
      return;
  }
}

// A block an append.
struct AppendManyArgs {
  const AppendArgs* appends = nullptr;
};

struct Append {
  using Args = AppendManyArgs;
  static constexpr int kNumThreads = 128;
  static constexpr int kNumPhases = 0;
  // Of what each thread looks at: the key's, then the value's.
  struct Shared {
    float max[2][kNumThreads];
    bool is_finite[2][kNumThreads];
  };

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared& shared) {
    const AppendArgs& append = at.args.appends[at.block];
    for (int which = 0; which < 2; ++which) {
      const float* x = which == 0 ? append.key : append.value;
      float max = 0.0f;
      bool is_finite = true;
      for (int64_t d = at.thread; d < append.layout.head_dim;
           d += kNumThreads) {
        is_finite = is_finite && IsFinite(x[d]);
        max = Max(max, Abs(x[d]));
      }
      shared.max[which][at.thread] = max;
      shared.is_finite[which][at.thread] = is_finite;
    }
  }

  HEADWISE_ANYWHERE static void End(const At<Args>& at, const Shared& shared) {
    const AppendArgs& append = at.args.appends[at.block];
    const KvLayout& layout = append.layout;
    float inverse[2] = {0.0f, 0.0f};
    if (layout.element == KvElement::kInt8) {
      for (int which = 0; which < 2; ++which) {
        const float scale = ScaleOf(shared, which);
        inverse[which] = scale > 0x1p-100f ? 1.0f / scale : 0.0f;
        if (at.thread != which) continue;
        reinterpret_cast<float*>(
            append.block +
            layout
                .scales_offset())[KvLayout::kPositions * which + append.slot] =
            scale;
      }
    }
    for (int64_t d = at.thread; d < layout.head_dim; d += kNumThreads) {
      StoreElement(layout.element, append.key[d], inverse[0], append.block,
                   KvLayout::kPositions * d + append.slot);
      StoreElement(layout.element, append.value[d], inverse[1],
                   append.block + layout.values_offset(),
                   append.slot * layout.head_dim + d);
    }
  }

 private:
  // max |x| / 127; NaN if a value is not finite.
  HEADWISE_ANYWHERE static float ScaleOf(const Shared& shared, int which) {
    float max = 0.0f;
    for (int thread = 0; thread < kNumThreads; ++thread) {
      if (!shared.is_finite[which][thread]) return NotANumber();
      max = Max(max, shared.max[which][thread]);
    }
    return max / 127.0f;
  }
};

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_CACHE_KERNELS_H_
