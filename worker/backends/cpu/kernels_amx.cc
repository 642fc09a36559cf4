// Matrix products of int8 blocks on AMX tiles, 16 tokens at a time; whatever is
// left goes to AVX-512. The same chains as matmul_inl.h: only the exact int32
// dot of a block comes from a tile. Compiled with AVX-512 and AMX flags alone.
#define HEADWISE_ISA_NAMESPACE headwise::amx

#include <immintrin.h>

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

void LoadTileConfig(const TileConfig& config) {
  // g++ 12 does not know that the instruction reads all 64 bytes and may leave
  // them unwritten; the clobber makes it write them.
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// The quads of an int4 block as bytes; an int8 block is used where it lies.
template <PackedFormat kFormat>
const uint8_t* Quads(const uint8_t* group, int64_t b, uint8_t* unpacked) {
  const uint8_t* p = group + b * BlockBytes(kFormat);
  if constexpr (!IsInt4(kFormat)) return p;
  const __m512i low = _mm512_set1_epi8(0x0f);
  for (int t = 0; t < 4; ++t) {
    const __m512i pair = _mm512_loadu_si512(p + 64 * t);
    _mm512_store_si512(unpacked + 128 * t, _mm512_and_si512(pair, low));
    _mm512_store_si512(unpacked + 128 * t + 64,
                       _mm512_and_si512(_mm512_srli_epi16(pair, 4), low));
  }
  return unpacked;
}

template <PackedFormat kFormat>
void TileOf16(const MatMulArgs& args, int64_t group, int64_t first_token) {
  const uint8_t* weights = args.weights + group * args.group_bytes;
  const QuantizedRows& rows = args.rows;
  const int64_t n = rows.n;
  const int64_t num_blocks = args.cols / 32;
  alignas(64) uint8_t unpacked[512];
  alignas(64) int32_t dots[kTileTokens * 16];
  F32x16 acc[kTileTokens];
  for (F32x16& a : acc) a = Zero();
  for (int64_t b = 0; b < num_blocks; ++b) {
    const uint8_t* quads = Quads<kFormat>(weights, b, unpacked);
    asm volatile("" : : "r"(quads) : "memory");  // as for the configuration
    _tile_zero(0);
    _tile_loadd(1, rows.q + first_token * n + 32 * b, n);
    _tile_loadd(2, quads, 64);
    _tile_dpbsud(0, 1, 2);
    _tile_stored(0, dots, 64);
    asm volatile("" : : "r"(dots) : "memory");
    const F32x16 scale_w = LoadScale<kFormat>(weights, num_blocks, b);
    F32x16 min_w = Zero();
    if constexpr (HasMinimums(kFormat)) {
      min_w = LoadMinimum<kFormat>(weights, num_blocks, b);
    }
    for (int m = 0; m < kTileTokens; ++m) {
      const int64_t token = first_token + m;
      I32x16 dot = {_mm512_load_si512(dots + 16 * m)};
      if constexpr (!IsInt4(kFormat)) {
        const int32_t* half = rows.half_offset + token * (n / 16) + 2 * b;
        dot = AddInt(dot, SetInt(half[0] + half[1]));
      }
      const F32x16 scale = Set(rows.scale[token * (n / 32) + b]);
      acc[m] = Fma(Mul(scale_w, scale), ToFloat(dot), acc[m]);
      if constexpr (HasMinimums(kFormat)) {
        acc[m] = Fma(min_w, Set(rows.scaled_sum[token * (n / 32) + b]), acc[m]);
      }
    }
  }
  Sink<kTileTokens>(args, group, first_token, acc);
}

template <PackedFormat kFormat>
void WholeTiles(const MatMulArgs& args) {
  LoadTileConfig(TileConfig());
  for (int64_t g = args.first_group; g < args.last_group; ++g) {
    for (int64_t m = 0; m + kTileTokens <= args.num_tokens; m += kTileTokens) {
      TileOf16<kFormat>(args, g, m);
    }
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
