// Partial attention over a range of one unit's cache, and the merge of
// partials. Include only from a kernels_*.cc file.
//
// A (query, key) score is one chain of FMAs over head_dim; an output element is
// one chain over positions. How many rows share a loaded key, whether keys were
// converted before, and how wide a register is change no chain.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_ATTENTION_INL_H_
#define HEADWISE_WORKER_BACKENDS_CPU_ATTENTION_INL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/kv_inl.h"
#include "worker/backends/cpu/math_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr int kMaxTileRows = 6;
constexpr int64_t kChunkTiles = kAttendChunk / 16;

// Rows of a tile inside one chunk.
struct RowTile {
  const float* queries;    // [rows][head_dim]
  const int64_t* visible;  // [rows] positions of this chunk seen, >= 1
  float* out;              // [rows][head_dim] not yet normalized
  float* max;              // [rows] running maximum
  float* sum;              // [rows] running sum of exp(score - max)
  float* scores;           // [rows][kAttendChunk]
  int64_t head_dim;
  int64_t num_positions;  // the most that any row sees
};

template <int kRows, int kCols, class Source>
inline void ScoreTiles(const RowTile& tile, const Source& source, int64_t t) {
  F32x16 acc[kRows][kCols];
  typename Source::KeyTile keys[kCols];
  for (int c = 0; c < kCols; ++c) {
    keys[c] = source.Keys(t + c);
    for (int r = 0; r < kRows; ++r) acc[r][c] = Zero();
  }
  for (int64_t d = 0; d < tile.head_dim; ++d) {
    F32x16 k[kCols];
    for (int c = 0; c < kCols; ++c) k[c] = source.LoadKeys(keys[c], d);
    for (int r = 0; r < kRows; ++r) {
      const F32x16 q = Set(tile.queries[r * tile.head_dim + d]);
      for (int c = 0; c < kCols; ++c) acc[r][c] = Fma(q, k[c], acc[r][c]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kCols; ++c) {
      Store(acc[r][c], tile.scores + r * kAttendChunk + 16 * (t + c));
    }
  }
}

// Scores of one row become exp(score - max); returns the factor by which what
// was gathered before must be scaled.
inline float ExpRow(const RowTile& tile, int r, int64_t num_tiles) {
  float* scores = tile.scores + r * kAttendChunk;
  const int64_t visible = tile.visible[r];
  const int64_t whole = visible / 16;
  const F32x16 none = Set(kNegativeInfinity);
  if (visible % 16 != 0) {
    float* tail = scores + 16 * whole;
    Store(KeepFirst(Load(tail), static_cast<int>(visible % 16), none), tail);
  }
  const int64_t used = (visible + 15) / 16;
  F32x16 max = none;
  for (int64_t t = 0; t < used; ++t) max = Max(max, Load(scores + 16 * t));
  const float chunk_max = MaxOfLanes(max);
  const float new_max = chunk_max > tile.max[r] ? chunk_max : tile.max[r];
  const F32x16 shift = Set(new_max);
  F32x16 sum = Zero();
  for (int64_t t = 0; t < used; ++t) {
    const F32x16 p = Exp(Sub(Load(scores + 16 * t), shift));
    sum = Add(sum, p);
    Store(p, scores + 16 * t);
  }
  for (int64_t t = used; t < num_tiles; ++t) Store(Zero(), scores + 16 * t);
  const float factor =
      new_max == tile.max[r] ? 1.0f : ExpOne(tile.max[r] - new_max);
  tile.sum[r] = __builtin_fmaf(tile.sum[r], factor, SumOfLanes(sum));
  tile.max[r] = new_max;
  return factor;
}

template <int kRows, int kVectors, class Source>
inline void AddValues(const RowTile& tile, const Source& source,
                      const float* factors, int64_t first_dim) {
  F32x16 acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      const float* out = tile.out + r * tile.head_dim + first_dim + 16 * v;
      acc[r][v] = Mul(Load(out), Set(factors[r]));
    }
  }
  for (int64_t j = 0; j < tile.num_positions; ++j) {
    const auto row = source.Values(j);
    F32x16 value[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      value[v] = source.LoadValues(row, first_dim + 16 * v);
    }
    for (int r = 0; r < kRows; ++r) {
      const F32x16 p = Set(tile.scores[r * kAttendChunk + j]);
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = Fma(p, value[v], acc[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      Store(acc[r][v], tile.out + r * tile.head_dim + first_dim + 16 * v);
    }
  }
}

template <int kRows, class Source>
void AttendTile(const RowTile& tile, const Source& source) {
  const int64_t num_tiles = (tile.num_positions + 15) / 16;
  int64_t t = 0;
  for (; t + kScoreColumns <= num_tiles; t += kScoreColumns) {
    ScoreTiles<kRows, kScoreColumns>(tile, source, t);
  }
  for (; t < num_tiles; ++t) ScoreTiles<kRows, 1>(tile, source, t);
  float factors[kRows];
  for (int r = 0; r < kRows; ++r) factors[r] = ExpRow(tile, r, num_tiles);
  int64_t d = 0;
  for (; d + 16 * kValueVectors <= tile.head_dim; d += 16 * kValueVectors) {
    AddValues<kRows, kValueVectors>(tile, source, factors, d);
  }
  for (; d < tile.head_dim; d += 16) {
    AddValues<kRows, 1>(tile, source, factors, d);
  }
}

template <class Source>
void AttendTileOf(int rows, const RowTile& tile, const Source& source) {
  switch (rows) {
    case 1:
      return AttendTile<1>(tile, source);
    case 2:
      return AttendTile<2>(tile, source);
    case 3:
      return AttendTile<3>(tile, source);
    case 4:
      return AttendTile<4>(tile, source);
    case 5:
      return AttendTile<5>(tile, source);
    default:
      return AttendTile<6>(tile, source);
  }
}

// Running state and scratch of a call of Attend.
struct AttendState {
  float* max;     // [num_rows]
  float* sum;     // [num_rows]
  float* scores;  // [kMaxTileRows][kAttendChunk]
  float* keys;    // [kChunkTiles][head_dim][16]
  float* values;  // [kAttendChunk][head_dim]
};

template <class Source>
void AttendChunkRows(const AttendArgs& args, const AttendState& state,
                     const Source& source, int64_t chunk, int64_t first_row) {
  const int64_t head_dim = args.layout.head_dim;
  const int64_t chunk_end =
      chunk + kAttendChunk < args.end ? chunk + kAttendChunk : args.end;
  for (int64_t r = first_row; r < args.num_rows; r += kMaxTileRows) {
    const int64_t left = args.num_rows - r;
    const int rows =
        static_cast<int>(left < kMaxTileRows ? left : kMaxTileRows);
    int64_t visible[kMaxTileRows];
    RowTile tile = {args.queries + r * head_dim,
                    visible,
                    args.out + r * head_dim,
                    state.max + r,
                    state.sum + r,
                    state.scores,
                    head_dim,
                    0};
    for (int i = 0; i < rows; ++i) {
      const int64_t end = args.visible_end[r + i];
      visible[i] = (end < chunk_end ? end : chunk_end) - chunk;
      if (visible[i] > tile.num_positions) tile.num_positions = visible[i];
    }
    AttendTileOf(rows, tile, source);
  }
}

template <KvElement kElement>
void AttendOf(const AttendArgs& args, const AttendState& state) {
  int64_t first_row = 0;
  for (int64_t chunk = args.begin; chunk < args.end; chunk += kAttendChunk) {
    while (first_row < args.num_rows && args.visible_end[first_row] <= chunk) {
      ++first_row;
    }
    if (first_row == args.num_rows) break;
    const CacheChunk<kElement> cached(
        args.layout, args.blocks + chunk / KvLayout::kPositions);
    if (args.num_rows - first_row <= kMaxTileRows) {
      AttendChunkRows(args, state, cached, chunk, first_row);
      continue;
    }
    // Many rows: convert once, use for every tile of rows.
    const int64_t last = args.visible_end[args.num_rows - 1];
    const int64_t end = args.end < last ? args.end : last;
    const int64_t count =
        chunk + kAttendChunk < end ? kAttendChunk : end - chunk;
    cached.Convert(count, state.keys, state.values);
    const FloatChunk converted(args.layout.head_dim, state.keys, state.values);
    AttendChunkRows(args, state, converted, chunk, first_row);
  }
}

void Attend(const AttendArgs& args) {
  const int64_t head_dim = args.layout.head_dim;
  AttendState state;
  state.keys = args.scratch;
  state.values = state.keys + kAttendChunk * head_dim;
  state.scores = state.values + kAttendChunk * head_dim;
  state.max = state.scores + kMaxTileRows * kAttendChunk;
  state.sum = state.max + args.num_rows;
  for (int64_t r = 0; r < args.num_rows; ++r) {
    state.max[r] = kNegativeInfinity;
    state.sum[r] = 0.0f;
  }
  for (int64_t i = 0; i < args.num_rows * head_dim; ++i) args.out[i] = 0.0f;
  switch (args.layout.element) {
    case KvElement::kFp32:
      AttendOf<KvElement::kFp32>(args, state);
      break;
    case KvElement::kFp16:
      AttendOf<KvElement::kFp16>(args, state);
      break;
    case KvElement::kBf16:
      AttendOf<KvElement::kBf16>(args, state);
      break;
    case KvElement::kInt8:
      AttendOf<KvElement::kInt8>(args, state);
      break;
  }
  for (int64_t r = 0; r < args.num_rows; ++r) {
    if (args.visible_end[r] <= args.begin) {  // saw nothing
      args.lse[r] = kNegativeInfinity;
      continue;
    }
    args.lse[r] = state.max[r] + LogOne(state.sum[r]);
    const F32x16 scale = Set(1.0f / state.sum[r]);
    for (int64_t d = 0; d < head_dim; d += 16) {
      float* out = args.out + r * head_dim + d;
      Store(Mul(Load(out), scale), out);
    }
  }
}

void Merge(const MergeArgs& args) {
  for (int64_t r = 0; r < args.num_rows; ++r) {
    const float a = args.lse[r];
    const float b = args.part_lse[r];
    if (b == kNegativeInfinity) continue;
    const float max = b > a ? b : a;
    const float weight_a = ExpOne(a - max);
    const float weight_b = ExpOne(b - max);
    const float sum = weight_a + weight_b;
    const F32x16 scale_a = Set(weight_a / sum);
    const F32x16 scale_b = Set(weight_b / sum);
    for (int64_t d = 0; d < args.head_dim; d += 16) {
      float* out = args.out + r * args.head_dim + d;
      const F32x16 part = Load(args.part_out + r * args.head_dim + d);
      Store(Fma(scale_a, Load(out), Mul(scale_b, part)), out);
    }
    args.lse[r] = max + LogOne(sum);
  }
}

}  // namespace
}  // namespace HEADWISE_ISA_NAMESPACE

#endif  // HEADWISE_WORKER_BACKENDS_CPU_ATTENTION_INL_H_
