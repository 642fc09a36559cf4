// Matrix products of int8 blocks on AMX tiles, 16 tokens at a time; whatever is
// left goes to AVX-512. The same chains as matmul_inl.h: only the exact int32
// dot of a block comes from a tile. Compiled with AVX-512 and AMX flags alone.
#define HEADWISE_ISA_NAMESPACE headwise::amx

#include <immintrin.h>

#include <utility>

#include "worker/backends/cpu/dot_avx512.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/matmul_inl.h"

namespace headwise {

extern const Kernels kAvx512Kernels;

namespace amx {
namespace {

constexpr int kTileTokens = 16;

// Tile 0: 16 tokens x 16 rows of int32. Tile 1: 16 tokens x 32 int8. Tile 2: 8
// quads x 16 rows x 4 uint8, which is how an int8 block is packed.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 32, 64};
  uint8_t num_rows[16] = {16, 16, 8};
};
static_assert(sizeof(TileConfig) == 64);

// What an instruction reads or writes is told to the compiler, which knows
// nothing of it from the intrinsics of g++ 12 or, if they clobber all memory,
// would keep no sum in a register.
void LoadTileConfig(const TileConfig& config) {
  asm volatile("ldtilecfg %0" : : "m"(config));
}

// 8 quads x 16 rows x 4 of a block of weights.
using Quads = uint8_t[512];
// 16 tokens x 16 rows.
using Dots = int32_t[256];

// Exact dots of 16 rows of activations, `stride` bytes apart, and a block.
inline void DotTile(const int8_t* activations, int64_t stride,
                    const Quads& quads, Dots& dots) {
  asm volatile(
      "tilezero %%tmm0\n\t"
      "tileloadd (%1,%2,1), %%tmm1\n\t"
      "tileloadd (%3,%4,1), %%tmm2\n\t"
      "tdpbsud %%tmm2, %%tmm1, %%tmm0\n\t"
      "tilestored %%tmm0, (%5,%4,1)"
      : "=m"(dots)
      : "r"(activations), "r"(stride), "r"(&quads), "r"(int64_t{64}),
        "r"(&dots), "m"(quads));
}

// The quads of an int4 block as bytes.
inline void Unpack(const uint8_t* block, Quads& quads) {
  const __m512i low = _mm512_set1_epi8(0x0f);
  for (int t = 0; t < 4; ++t) {
    const __m512i pair = _mm512_loadu_si512(block + 64 * t);
    _mm512_store_si512(quads + 128 * t, _mm512_and_si512(pair, low));
    _mm512_store_si512(quads + 128 * t + 64,
                       _mm512_and_si512(_mm512_srli_epi16(pair, 4), low));
  }
}

// The sums of 16 tokens. Only with indices that are constants from the start
// does g++ 12 keep them in registers, so it is spelled as packs.
struct Sums {
  F32x16 of[kTileTokens];

  template <size_t... m>
  void Clear(std::index_sequence<m...>) {
    ((of[m] = Zero()), ...);
  }
  template <size_t... m>
  void Copy(F32x16* to, std::index_sequence<m...>) const {
    ((to[m] = of[m]), ...);
  }
  // Block b of the rows from first_token on.
  template <PackedFormat kFormat, size_t... m>
  void Add(const uint8_t* weights, int64_t num_blocks, int64_t b,
           const QuantizedRows& rows, int64_t first_token, const Dots& dots,
           std::index_sequence<m...>) {
    const int64_t n = rows.n;
    const F32x16 scale_w = LoadScale<kFormat>(weights, num_blocks, b);
    F32x16 min_w = Zero();
    if constexpr (HasMinimums(kFormat)) {
      min_w = LoadMinimum<kFormat>(weights, num_blocks, b);
    }
    const float* scale = rows.scale + first_token * (n / 32) + b;
    const float* sum = rows.scaled_sum + first_token * (n / 32) + b;
    const int32_t* offset = rows.half_offset + first_token * (n / 16) + 2 * b;
    const auto add = [&](int64_t i, F32x16 acc) {
      I32x16 dot = {_mm512_load_si512(dots + 16 * i)};
      if constexpr (!IsInt4(kFormat)) {
        const int32_t* half = offset + i * (n / 16);
        dot = AddInt(dot, SetInt(half[0] + half[1]));
      }
      acc = Fma(Mul(scale_w, Set(scale[i * (n / 32)])), ToFloat(dot), acc);
      if constexpr (HasMinimums(kFormat)) {
        acc = Fma(min_w, Set(sum[i * (n / 32)]), acc);
      }
      return acc;
    };
    ((of[m] = add(m, of[m])), ...);
  }
};

// A block of the product of 16 tokens and the groups of a call, in the order of
// the work: by token tile, then group, then block.
template <PackedFormat kFormat>
class Cursor {
 public:
  Cursor(const MatMulArgs& args, int64_t num_tiles)
      : args_(args), num_tiles_(num_tiles), group_(args.first_group) {
    weights_ = args.weights + group_ * args.group_bytes;
  }

  bool done() const { return tile_ == num_tiles_; }
  int64_t first_token() const { return tile_ * kTileTokens; }
  int64_t group() const { return group_; }
  int64_t block() const { return block_; }
  const uint8_t* weights() const { return weights_; }  // of the group
  bool is_last_of_group() const { return block_ + 1 == num_blocks(); }
  int64_t num_blocks() const { return args_.cols / 32; }

  void Next() {
    if (++block_ < num_blocks()) return;
    block_ = 0;
    if (++group_ == args_.last_group) {
      group_ = args_.first_group;
      ++tile_;
    }
    weights_ = args_.weights + group_ * args_.group_bytes;
  }

 private:
  const MatMulArgs& args_;
  const int64_t num_tiles_;
  int64_t tile_ = 0;
  int64_t group_;
  int64_t block_ = 0;
  const uint8_t* weights_;
};

// Tiles take long, and longer if they read what was stored just before: the
// dots of a block are begun kDotsAhead blocks before they are added, and an
// int4 block is unpacked kUnpackAhead blocks before, across the ends of groups.
// Ahead of nothing, int4 took 1.5 times as long.
constexpr int64_t kDotsAhead = 2;
constexpr int64_t kUnpackAhead = 4;
constexpr int64_t kRing = 8;  // a power of two above both
// Bytes of weights, which come from afar for the first tokens: a tenth of the
// time.
constexpr int64_t kPrefetchAhead = 4096;

// An int4 block and its share of the scales. Beyond the end it does no harm.
inline void Prefetch(const uint8_t* weights) {
  for (int64_t line = 0; line < 320; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(weights + line), _MM_HINT_T0);
  }
}

// Activations of 16 tokens stay in the first cache, weights pass by in order.
template <PackedFormat kFormat>
void WholeTiles(const MatMulArgs& args) {
  const int64_t n = args.rows.n;
  const int64_t num_tiles = args.num_tokens / kTileTokens;
  if (args.first_group == args.last_group) return;
  alignas(64) Quads unpacked[kRing];
  alignas(64) Dots dots[kRing];
  Cursor<kFormat> to_unpack(args, num_tiles), to_dot(args, num_tiles);
  int64_t num_unpacked = 0, num_dotted = 0;
  const auto unpack = [&] {
    if (!IsInt4(kFormat) || to_unpack.done()) return;
    const uint8_t* block =
        to_unpack.weights() + to_unpack.block() * BlockBytes(kFormat);
    if (to_unpack.first_token() == 0) Prefetch(block + kPrefetchAhead);
    Unpack(block, unpacked[num_unpacked++ % kRing]);
    to_unpack.Next();
  };
  const auto begin_dots = [&] {
    if (to_dot.done()) return;
    const int64_t b = to_dot.block();
    // An int8 block is used where it lies.
    const auto& quads = IsInt4(kFormat)
                            ? unpacked[num_dotted % kRing]
                            : *reinterpret_cast<const Quads*>(
                                  to_dot.weights() + b * BlockBytes(kFormat));
    DotTile(args.rows.q + to_dot.first_token() * n + 32 * b, n, quads,
            dots[num_dotted++ % kRing]);
    to_dot.Next();
  };
  constexpr std::make_index_sequence<kTileTokens> kAll;
  LoadTileConfig(TileConfig());
  for (int64_t i = 0; i < kUnpackAhead; ++i) unpack();
  for (int64_t i = 0; i < kDotsAhead; ++i) begin_dots();
  Sums sums;
  sums.Clear(kAll);
  int64_t i = 0;
  for (Cursor<kFormat> at(args, num_tiles); !at.done(); at.Next(), ++i) {
    unpack();
    begin_dots();
    sums.Add<kFormat>(at.weights(), at.num_blocks(), at.block(), args.rows,
                      at.first_token(), dots[i % kRing], kAll);
    if (!at.is_last_of_group()) continue;
    F32x16 acc[kTileTokens];
    sums.Copy(acc, kAll);
    Sink<kTileTokens>(args, at.group(), at.first_token(), acc);
    sums.Clear(kAll);
  }
  _tile_release();
}

}  // namespace

void MatMul(const MatMulArgs& args) {
  const bool has_tiles =
      IsQuantized(args.format) && args.format != PackedFormat::kInt8Short;
  const int64_t done =
      has_tiles ? args.num_tokens / kTileTokens * kTileTokens : 0;
  if (done > 0) {
    switch (args.format) {
      case PackedFormat::kInt4Half:
        WholeTiles<PackedFormat::kInt4Half>(args);
        break;
      case PackedFormat::kInt4Float:
        WholeTiles<PackedFormat::kInt4Float>(args);
        break;
      case PackedFormat::kInt8Half:
        WholeTiles<PackedFormat::kInt8Half>(args);
        break;
      default:
        WholeTiles<PackedFormat::kInt8Float>(args);
    }
  }
  if (done == args.num_tokens) return;
  MatMulArgs rest = args;
  const int64_t n = args.rows.n;
  rest.num_tokens = args.num_tokens - done;
  if (done > 0) {
    rest.rows = {args.rows.q + done * n, args.rows.scale + done * (n / 32),
                 args.rows.scaled_sum + done * (n / 32),
                 args.rows.half_offset + done * (n / 16), n};
    if (rest.out != nullptr) rest.out += done * args.out_stride;
    if (rest.acc != nullptr) rest.acc += done * args.out_stride;
  }
  kAvx512Kernels.matmul(rest);
}

}  // namespace amx
}  // namespace headwise
