// How keys and values are written to and read from the cache. Include only from
// a kernels_*.cc file.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_KV_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_KV_INL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/math_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

template <KvElement kElement>
struct ElementOf {
  using Type = uint16_t;
};
template <>
struct ElementOf<KvElement::kFp32> {
  using Type = float;
};
template <>
struct ElementOf<KvElement::kInt8> {
  using Type = int8_t;
};

template <KvElement kElement>
inline F32x16 LoadElements(const typename ElementOf<kElement>::Type* p) {
  if constexpr (kElement == KvElement::kFp32) {
    return Load(p);
  } else if constexpr (kElement == KvElement::kFp16) {
    return LoadHalf(p);
  } else if constexpr (kElement == KvElement::kBf16) {
    return LoadBrain(p);
  } else {
    return ToFloat(LoadInt8(p));
  }
}

// A chunk of the cache, converted as it is loaded.
template <KvElement kElement>
class CacheChunk {
 public:
  using Type = typename ElementOf<kElement>::Type;
  struct KeyTile {
    const Type* data;
    const float* scales;
  };
  struct ValueRow {
    const Type* data;
    float scale;
  };

  // `blocks` begins with the chunk's first block.
  CacheChunk(const KvLayout& layout, const uint8_t* const* blocks)
      : layout_(layout), blocks_(blocks) {}

  // Tile t: positions [16 t, 16 t + 16) of the chunk.
  KeyTile Keys(int64_t t) const {
    const uint8_t* block = blocks_[t / 4];
    const auto* data = reinterpret_cast<const Type*>(block);
    const auto* scales =
        reinterpret_cast<const float*>(block + layout_.scales_offset());
    return {data + t % 4 * 16 * layout_.head_dim, scales + t % 4 * 16};
  }
  F32x16 LoadKeys(const KeyTile& tile, int64_t d) const {
    const F32x16 k = LoadElements<kElement>(tile.data + 16 * d);
    if constexpr (kElement == KvElement::kInt8) {
      return Mul(k, Load(tile.scales));
    }
    return k;
  }

  // Position j of the chunk.
  ValueRow Values(int64_t j) const {
    const uint8_t* block = blocks_[j / KvLayout::kPositions];
    const int64_t slot = j % KvLayout::kPositions;
    const auto* data =
        reinterpret_cast<const Type*>(block + layout_.values_offset());
    float scale = 1.0f;
    if constexpr (kElement == KvElement::kInt8) {
      scale = reinterpret_cast<const float*>(
          block + layout_.scales_offset())[KvLayout::kPositions + slot];
    }
    return {data + slot * layout_.head_dim, scale};
  }
  F32x16 LoadValues(const ValueRow& row, int64_t d) const {
    const F32x16 v = LoadElements<kElement>(row.data + d);
    if constexpr (kElement == KvElement::kInt8) return Mul(v, Set(row.scale));
    return v;
  }

  // Tiles [first, last) as fp32, keys in tiles of 16.
  void Convert(int64_t first, int64_t last, float* keys, float* values) const {
    const int64_t head_dim = layout_.head_dim;
    for (int64_t t = first; t < last; ++t) {
      const KeyTile tile = Keys(t);
      for (int64_t d = 0; d < head_dim; ++d) {
        Store(LoadKeys(tile, d), keys + (t * head_dim + d) * 16);
      }
    }
    for (int64_t j = 16 * first; j < 16 * last; ++j) {
      const ValueRow row = Values(j);
      for (int64_t d = 0; d < head_dim; d += 16) {
        Store(LoadValues(row, d), values + j * head_dim + d);
      }
    }
  }

 private:
  const KvLayout layout_;
  const uint8_t* const* blocks_;
};

// A chunk that was converted before.
class FloatChunk {
 public:
  using KeyTile = const float*;

  FloatChunk(int64_t head_dim, const float* keys, const float* values)
      : head_dim_(head_dim), keys_(keys), values_(values) {}

  KeyTile Keys(int64_t t) const { return keys_ + t * head_dim_ * 16; }
  F32x16 LoadKeys(KeyTile tile, int64_t d) const { return Load(tile + 16 * d); }
  const float* Values(int64_t j) const { return values_ + j * head_dim_; }
  F32x16 LoadValues(const float* row, int64_t d) const { return Load(row + d); }

 private:
  const int64_t head_dim_;
  const float* keys_;
  const float* values_;
};

// Nearest bfloat16, ties to even; NaN stays NaN.
inline uint16_t BrainOf(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(0x7fc0);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Scale of a vector stored as int8: max |x| / 127; NaN if it is not finite, so
// that the fault is seen where it is read.
inline float Int8Scale(const float* x, int64_t n) {
  F32x16 max = Zero();
  bool finite = true;
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 a = Abs(Load(x + i));
    finite = finite && MaskNotLess(a, Set(__builtin_huge_valf())) == 0;
    max = Max(max, a);
  }
  return finite ? MaxOfLanes(max) / 127.0f : __builtin_nanf("");
}

// n elements of x in the cache's type; `inverse` is 1 / scale for int8.
template <KvElement kElement>
inline void Narrow(const float* x, int64_t n, float inverse,
                   typename ElementOf<kElement>::Type* out) {
  for (int64_t i = 0; i < n; i += 16) {
    if constexpr (kElement == KvElement::kFp32) {
      Store(Load(x + i), out + i);
    } else if constexpr (kElement == KvElement::kFp16) {
      StoreHalf(Load(x + i), out + i);
    } else if constexpr (kElement == KvElement::kInt8) {
      StoreInt8(ToInt(Mul(Load(x + i), Set(inverse))), out + i);
    } else {
      for (int lane = 0; lane < 16; ++lane) {
        out[i + lane] = BrainOf(x[i + lane]);
      }
    }
  }
}

constexpr int64_t kMaxHeadDim = 1024;  // as model files are checked

template <KvElement kElement>
void AppendOf(const AppendArgs& args) {
  using Type = typename ElementOf<kElement>::Type;
  const int64_t head_dim = args.layout.head_dim;
  float key_inverse = 0.0f;
  float value_inverse = 0.0f;
  if constexpr (kElement == KvElement::kInt8) {
    auto* scales =
        reinterpret_cast<float*>(args.block + args.layout.scales_offset());
    const float key_scale = Int8Scale(args.key, head_dim);
    const float value_scale = Int8Scale(args.value, head_dim);
    scales[args.slot] = key_scale;
    scales[KvLayout::kPositions + args.slot] = value_scale;
    key_inverse = key_scale > 0x1p-100f ? 1.0f / key_scale : 0.0f;
    value_inverse = value_scale > 0x1p-100f ? 1.0f / value_scale : 0.0f;
  }
  Type key[kMaxHeadDim];
  Narrow<kElement>(args.key, head_dim, key_inverse, key);
  Type* keys = reinterpret_cast<Type*>(args.block) +
               args.slot / 16 * 16 * head_dim + args.slot % 16;
  for (int64_t d = 0; d < head_dim; ++d) keys[16 * d] = key[d];
  Narrow<kElement>(
      args.value, head_dim, value_inverse,
      reinterpret_cast<Type*>(args.block + args.layout.values_offset()) +
          args.slot * head_dim);
}

void Append(const AppendArgs& args) {
  switch (args.layout.element) {
    case KvElement::kFp32:
      return AppendOf<KvElement::kFp32>(args);
    case KvElement::kFp16:
      return AppendOf<KvElement::kFp16>(args);
    case KvElement::kBf16:
      return AppendOf<KvElement::kBf16>(args);
    case KvElement::kInt8:
      return AppendOf<KvElement::kInt8>(args);
  }
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_KV_INL_H_
