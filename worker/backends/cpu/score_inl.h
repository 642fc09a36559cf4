// Scores of query rows: one chain of FMAs over head_dim for each (query, key)
// pair, whatever shares a register with it. Include only from a kernels_*.cc
// file.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_SCORE_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_SCORE_INL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/kv_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr int kMaxTileRows = 6;

// Where the scores of a tile of rows come from and go to.
struct ScoreTile {
  const float* queries;  // [rows][head_dim]
  float* out;            // [rows][out_stride]; column 0 is tile 0 of the source
  int64_t out_stride;
  int64_t head_dim;
};

// g++ 12 keeps `acc` in registers only if it is told to unroll: three rows took
// 2.4 times as long without.
template <int kRows, int kCols, class Source>
inline void ScoreTiles(const ScoreTile& tile, const Source& source, int64_t t) {
  F32x16 acc[kRows][kCols];
  typename Source::KeyTile keys[kCols];
#pragma GCC unroll 8
  for (int c = 0; c < kCols; ++c) {
    keys[c] = source.Keys(t + c);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) acc[r][c] = Zero();
  }
  for (int64_t d = 0; d < tile.head_dim; ++d) {
    source.template FetchWithKeys<kCols>(keys, d);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      const F32x16 k = source.LoadKeys(keys[c], d);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        acc[r][c] = Fma(Set(tile.queries[r * tile.head_dim + d]), k, acc[r][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      Store(acc[r][c], tile.out + r * tile.out_stride + 16 * (t + c));
    }
  }
}

// Tiles [first, last) of the source.
template <int kRows, class Source>
inline void ScoreRows(const ScoreTile& tile, const Source& source,
                      int64_t first, int64_t last) {
  constexpr int kCols = ScoreColumns(kRows);
  int64_t t = first;
  for (; t + kCols <= last; t += kCols) {
    ScoreTiles<kRows, kCols>(tile, source, t);
  }
  for (; t < last; ++t) ScoreTiles<kRows, 1>(tile, source, t);
}

// As many whole tiles as [begin, end) has, then the first positions of one more
// by way of a buffer: nothing is written beyond `end`.
template <KvElement kElement, int kRows>
void ScoresOfRows(const ScoresArgs& args, int64_t first_row) {
  const int64_t head_dim = args.layout.head_dim;
  const CacheChunk<kElement, true> source(
      args.layout, args.blocks, NumBlocks(args.end), FetchOrder::kOfMemory);
  float* out = args.out + first_row * args.out_stride;
  ScoreTile tile = {args.queries + first_row * head_dim, out - args.begin,
                    args.out_stride, head_dim};
  const int64_t whole = args.end / 16;
  ScoreRows<kRows>(tile, source, args.begin / 16, whole);
  const int64_t rest = args.end % 16;
  if (rest == 0) return;
  float buffer[kRows * 16];
  tile.out = buffer - 16 * whole;
  tile.out_stride = 16;
  ScoreTiles<kRows, 1>(tile, source, whole);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t j = 0; j < rest; ++j) {
      out[r * args.out_stride + 16 * whole - args.begin + j] =
          buffer[16 * r + j];
    }
  }
}

template <KvElement kElement>
void ScoresOf(const ScoresArgs& args) {
  int64_t r = 0;
  for (; r + 4 <= args.num_rows; r += 4) ScoresOfRows<kElement, 4>(args, r);
  for (; r < args.num_rows; ++r) ScoresOfRows<kElement, 1>(args, r);
}

void Scores(const ScoresArgs& args) {
  if (args.begin >= args.end) return;
  switch (args.layout.element) {
    case KvElement::kFp32:
      return ScoresOf<KvElement::kFp32>(args);
    case KvElement::kFp16:
      return ScoresOf<KvElement::kFp16>(args);
    case KvElement::kBf16:
      return ScoresOf<KvElement::kBf16>(args);
    case KvElement::kInt8:
      return ScoresOf<KvElement::kInt8>(args);
  }
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_SCORE_INL_H_
