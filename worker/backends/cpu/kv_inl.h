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

// Blocks that hold `count` positions.
inline int64_t NumBlocks(int64_t count) {
  return (count + KvLayout::kPositions - 1) / KvLayout::kPositions;
}

// The end of position j's block, or `limit` if that comes before.
inline int64_t BlockEnd(int64_t j, int64_t limit) {
  const int64_t end = (j / KvLayout::kPositions + 1) * KvLayout::kPositions;
  return end < limit ? end : limit;
}

// In which order lines are read ahead: the whole next chunk as it lies in
// memory; or, where chunks are few and the first counts, with keys the values
// of their positions and with values the next chunk's keys.
enum class FetchOrder : uint8_t { kOfMemory, kOfUse };

// A chunk of the cache, converted as it is loaded.
//
// With kAhead lines are read ahead at the pace of the arithmetic. In the order
// of memory, the next chunk's first two blocks come beside this chunk's keys,
// the others beside its values: a stream that hardware follows. (Decode over a
// million positions, of the bandwidth of a plain read: 0.55 without reading
// ahead, 0.70 in the order of use, 0.88 so.)
template <KvElement kElement, bool kAhead>
class CacheChunk {
 public:
  using Type = typename ElementOf<kElement>::Type;
  struct KeyTile {
    const Type* data;
    const float* scales;
    const Type* ahead;
  };
  // Positions of one block.
  struct ValueRun {
    const Type* data;
    const float* scales;
    const Type* ahead;
  };

  // `blocks` begins with the chunk's first block and has `num_blocks` entries;
  // those after the chunk's are read ahead.
  CacheChunk(const KvLayout& layout, const uint8_t* const* blocks,
             int64_t num_blocks, FetchOrder order)
      : head_dim_(layout.head_dim),
        values_offset_(layout.values_offset()),
        scales_offset_(layout.scales_offset()),
        blocks_(blocks),
        num_blocks_(num_blocks),
        order_(order) {}

  // Tile t: positions [16 t, 16 t + 16) of the chunk.
  KeyTile Keys(int64_t t) const {
    const uint8_t* block = blocks_[t / 4];
    const int64_t slot = t % 4 * 16;
    if (order_ == FetchOrder::kOfUse) {
      return {Elements(block) + slot, Scales(block) + slot,
              Elements(block + values_offset_) + slot};
    }
    return {Elements(block) + slot, Scales(block) + slot,
            Ahead(t / 8, block) + t % 8 / 4 * kPositions * head_dim_ + slot};
  }
  F32x16 LoadKeys(const KeyTile& tile, int64_t d) const {
    const F32x16 k = LoadElements<kElement>(tile.data + kPositions * d);
    if constexpr (kElement == KvElement::kInt8) {
      return Mul(k, Load(tile.scales));
    }
    return k;
  }
  template <int kCols>
  void FetchWithKeys(const KeyTile* tiles, int64_t d) const {
    if constexpr (!kAhead) return;
    // Tiles of a block share lines unless elements are fp32.
    for (int c = 0; c < kCols; c += kPerLine / 16) {
      Prefetch(tiles[c].ahead + kPositions * d);
    }
  }

  // From position j of the chunk on to the end of its block.
  ValueRun Values(int64_t j) const {
    const uint8_t* block = blocks_[j / kPositions];
    const int64_t slot = j % kPositions;
    return {Elements(block + values_offset_) + slot * head_dim_,
            Scales(block) + kPositions + slot,
            order_ == FetchOrder::kOfUse
                ? Ahead(j / kPositions, block) + slot * head_dim_
                : Ahead(2 + j / 128, block) + j % 128 * head_dim_};
  }
  // Position i of the run.
  F32x16 LoadValues(const ValueRun& run, int64_t i, int64_t d) const {
    const F32x16 v = LoadElements<kElement>(run.data + i * head_dim_ + d);
    if constexpr (kElement == KvElement::kInt8) {
      return Mul(v, Set(run.scales[i]));
    }
    return v;
  }
  template <int kVectors>
  void FetchWithValues(const ValueRun& run, int64_t i, int64_t d) const {
    if constexpr (!kAhead) return;
    for (int v = 0; v < kVectors; v += kPerLine / 16) {
      Prefetch(run.ahead + i * head_dim_ + d + 16 * v);
    }
  }

  // Tiles [first, last) as fp32, keys in tiles of 16.
  void Convert(int64_t first, int64_t last, float* keys, float* values) const {
    for (int64_t t = first; t < last; ++t) {
      const KeyTile tile = Keys(t);
      for (int64_t d = 0; d < head_dim_; ++d) {
        Store(LoadKeys(tile, d), keys + (t * head_dim_ + d) * 16);
      }
      const ValueRun run = Values(16 * t);
      for (int64_t i = 0; i < 16; ++i) {
        for (int64_t d = 0; d < head_dim_; d += 16) {
          Store(LoadValues(run, i, d), values + (16 * t + i) * head_dim_ + d);
        }
      }
    }
  }

 private:
  static constexpr int64_t kPositions = KvLayout::kPositions;
  static constexpr int kPerLine = 64 / sizeof(Type);  // elements

  static const Type* Elements(const uint8_t* p) {
    return reinterpret_cast<const Type*>(p);
  }
  const float* Scales(const uint8_t* block) const {  // kInt8 only
    return reinterpret_cast<const float*>(block + scales_offset_);
  }
  // Block b of the next chunk; `block`, which is near, if there is none.
  const Type* Ahead(int64_t b, const uint8_t* block) const {
    b += kAttendChunk / kPositions;
    const uint8_t* next = b < num_blocks_ ? blocks_[b] : nullptr;
    return Elements(next == nullptr ? block : next);
  }

  const int64_t head_dim_;
  const int64_t values_offset_;
  const int64_t scales_offset_;
  const uint8_t* const* blocks_;
  const int64_t num_blocks_;
  const FetchOrder order_;
};

// A chunk that was converted before.
class FloatChunk {
 public:
  using KeyTile = const float*;
  using ValueRun = const float*;

  FloatChunk(int64_t head_dim, const float* keys, const float* values)
      : head_dim_(head_dim), keys_(keys), values_(values) {}

  KeyTile Keys(int64_t t) const { return keys_ + t * head_dim_ * 16; }
  F32x16 LoadKeys(KeyTile tile, int64_t d) const { return Load(tile + 16 * d); }
  template <int kCols>
  void FetchWithKeys(const KeyTile*, int64_t) const {}  // near as they are
  ValueRun Values(int64_t j) const { return values_ + j * head_dim_; }
  F32x16 LoadValues(ValueRun run, int64_t i, int64_t d) const {
    return Load(run + i * head_dim_ + d);
  }
  template <int kVectors>
  void FetchWithValues(ValueRun, int64_t, int64_t) const {}

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
  Type* keys = reinterpret_cast<Type*>(args.block) + args.slot;
  for (int64_t d = 0; d < head_dim; ++d) {
    keys[KvLayout::kPositions * d] = key[d];
  }
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
