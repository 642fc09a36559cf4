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
#include "worker/backends/cpu/score_inl.h"

namespace HEADWISE_ISA_NAMESPACE {
namespace {

constexpr int64_t kChunkTiles = kAttendChunk / 16;

// Positions of a chunk that a row sees.
struct SeenSpan {
  int64_t begin;
  int64_t end;
};

// Rows of a tile inside one chunk. Each sees something, and no position between
// what two of them see is seen by none.
struct RowTile {
  const float* queries;  // [rows][head_dim]
  const SeenSpan* seen;  // [rows] never descending
  float* out;            // [rows][head_dim] not yet normalized
  float* max;            // [rows] running maximum
  float* sum;            // [rows] running sum of exp(score - max)
  float* scores;         // [rows][kAttendChunk]
  int64_t head_dim;
};

// Scores of one row become exp(score - max), and what was gathered before is
// scaled to the new maximum. Lanes that the row does not see become 0.
inline void ExpRow(const RowTile& tile, int r) {
  float* scores = tile.scores + r * kAttendChunk;
  const SeenSpan seen = tile.seen[r];
  const F32x16 none = Set(kNegativeInfinity);
  if (seen.end % 16 != 0) {
    float* tail = scores + seen.end / 16 * 16;
    Store(KeepFirst(Load(tail), static_cast<int>(seen.end % 16), none), tail);
  }
  if (seen.begin % 16 != 0) {
    float* head = scores + seen.begin / 16 * 16;
    Store(KeepFirst(none, static_cast<int>(seen.begin % 16), Load(head)), head);
  }
  const int64_t first = seen.begin / 16;
  const int64_t last = (seen.end + 15) / 16;
  F32x16 max = none;
  for (int64_t t = first; t < last; ++t) max = Max(max, Load(scores + 16 * t));
  const float chunk_max = MaxOfLanes(max);
  const float new_max = chunk_max > tile.max[r] ? chunk_max : tile.max[r];
  const F32x16 shift = Set(new_max);
  F32x16 sum = Zero();
  for (int64_t t = first; t < last; ++t) {
    const F32x16 p = Exp(Sub(Load(scores + 16 * t), shift));
    sum = Add(sum, p);
    Store(p, scores + 16 * t);
  }
  const float factor =
      new_max == tile.max[r] ? 1.0f : ExpOne(tile.max[r] - new_max);
  tile.sum[r] = __builtin_fmaf(tile.sum[r], factor, SumOfLanes(sum));
  tile.max[r] = new_max;
  if (factor == 1.0f) return;
  for (int64_t d = 0; d < tile.head_dim; d += 16) {
    float* out = tile.out + r * tile.head_dim + d;
    Store(Mul(Load(out), Set(factor)), out);
  }
}

// Adds the values of positions [span.begin, span.end) to rows [first_row,
// first_row + kRows), all of which see them.
template <int kRows, int kVectors, class Source>
inline void AddValueVectors(const RowTile& tile, const Source& source,
                            int first_row, SeenSpan span, int64_t first_dim) {
  float* out = tile.out + first_row * tile.head_dim + first_dim;
  F32x16 acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = Load(out + r * tile.head_dim + 16 * v);
    }
  }
  for (int64_t j = span.begin; j < span.end;) {
    const auto run = source.Values(j);
    const float* probs = tile.scores + first_row * kAttendChunk + j;
    const int64_t count = BlockEnd(j, span.end) - j;
    for (int64_t i = 0; i < count; ++i) {
      source.template FetchWithValues<kVectors>(run, i, first_dim);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const F32x16 value = source.LoadValues(run, i, first_dim + 16 * v);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          acc[r][v] = Fma(Set(probs[r * kAttendChunk + i]), value, acc[r][v]);
        }
      }
    }
    j += count;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Store(acc[r][v], out + r * tile.head_dim + 16 * v);
    }
  }
}

template <int kRows, class Source>
inline void AddValues(const RowTile& tile, const Source& source, int first_row,
                      SeenSpan span) {
  if (span.begin >= span.end) return;
  constexpr int kVectors = ValueVectors(kRows);
  int64_t d = 0;
  for (; d + 16 * kVectors <= tile.head_dim; d += 16 * kVectors) {
    AddValueVectors<kRows, kVectors>(tile, source, first_row, span, d);
  }
  // The rest of a head_dim that is no multiple, in halves.
  constexpr int kHalf = kVectors > 1 ? kVectors / 2 : 1;
  for (; d + 16 * kHalf <= tile.head_dim; d += 16 * kHalf) {
    AddValueVectors<kRows, kHalf>(tile, source, first_row, span, d);
  }
  for (; d < tile.head_dim; d += 16) {
    AddValueVectors<kRows, 1>(tile, source, first_row, span, d);
  }
}

template <int kRows, class Source>
void AttendTile(const RowTile& tile, const Source& source) {
  ScoreRows<kRows>({tile.queries, tile.scores, kAttendChunk, tile.head_dim},
                   source, tile.seen[0].begin / 16,
                   (tile.seen[kRows - 1].end + 15) / 16);
  for (int r = 0; r < kRows; ++r) ExpRow(tile, r);
  // What all rows see in one pass; what comes before and after, row by row.
  // Nothing is added for a position that a row does not see.
  SeenSpan common = {tile.seen[kRows - 1].begin, tile.seen[0].end};
  if (common.end < common.begin) common.end = common.begin;
  for (int r = 0; r < kRows; ++r) {
    const SeenSpan seen = tile.seen[r];
    const int64_t end = seen.end < common.begin ? seen.end : common.begin;
    AddValues<1>(tile, source, r, {seen.begin, end});
  }
  AddValues<kRows>(tile, source, 0, common);
  for (int r = 0; r < kRows; ++r) {
    AddValues<1>(tile, source, r, {common.end, tile.seen[r].end});
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

// What row r sees of [begin, end), as offsets from `begin`.
inline SeenSpan SeenBy(const AttendArgs& args, int64_t r, int64_t begin,
                       int64_t end) {
  SeenSpan seen = {0, args.visible_end[r]};
  if (args.visible_begin != nullptr) seen.begin = args.visible_begin[r];
  if (seen.begin < begin) seen.begin = begin;
  if (seen.end > end) seen.end = end;
  return {seen.begin - begin, seen.end - begin};
}

// The chunk that begins at `begin`, and the rows that may see some of it.
struct ChunkRows {
  int64_t begin;
  int64_t end;
  int64_t first_row;
  int64_t last_row;
};

// Calls attend_tile(tile, num_rows) for tiles of rows that see something and
// leave no gap between what they see.
template <class AttendTileFn>
void ForRowTiles(const AttendArgs& args, const AttendState& state,
                 const ChunkRows& chunk, AttendTileFn attend_tile) {
  const int64_t head_dim = args.layout.head_dim;
  SeenSpan seen[kMaxTileRows];
  int64_t r = chunk.first_row;
  while (r < chunk.last_row) {
    int rows = 0;
    while (rows < kMaxTileRows && r + rows < chunk.last_row) {
      seen[rows] = SeenBy(args, r + rows, chunk.begin, chunk.end);
      if (seen[rows].begin >= seen[rows].end) break;
      if (rows > 0 && seen[rows].begin > seen[rows - 1].end) break;
      ++rows;
    }
    if (rows == 0) {  // row r sees nothing here
      ++r;
      continue;
    }
    attend_tile(
        RowTile{args.queries + r * head_dim, seen, args.out + r * head_dim,
                state.max + r, state.sum + r, state.scores, head_dim},
        rows);
    r += rows;
  }
}

// Few rows: the cache is read once, so it is converted as it is loaded. Many
// rows: converted once for all of them, but fp32 is as good where it lies.
template <KvElement kElement>
void AttendChunkRows(const AttendArgs& args, const AttendState& state,
                     const ChunkRows& chunk) {
  const uint8_t* const* blocks =
      args.blocks + chunk.begin / KvLayout::kPositions;
  const int64_t num_blocks = NumBlocks(args.end - chunk.begin);
  const CacheChunk<kElement, true> near(args.layout, blocks, num_blocks,
                                        args.end - args.begin > 2 * kAttendChunk
                                            ? FetchOrder::kOfMemory
                                            : FetchOrder::kOfUse);
  if (chunk.last_row - chunk.first_row <= kMaxTileRows) {
    ForRowTiles(args, state, chunk, [&](const RowTile& tile, int rows) {
      AttendTileOf(rows, tile, near);
    });
  } else if constexpr (kElement == KvElement::kFp32) {
    const CacheChunk<kElement, false> again(args.layout, blocks, num_blocks,
                                            FetchOrder::kOfMemory);
    ForRowTiles(args, state, chunk, [&](const RowTile& tile, int rows) {
      AttendTileOf(rows, tile, again);
    });
  } else {
    const FloatChunk converted(args.layout.head_dim, state.keys, state.values);
    int64_t done = 0;  // tiles of 16 positions
    ForRowTiles(args, state, chunk, [&](const RowTile& tile, int rows) {
      const int64_t first = tile.seen[0].begin / 16;
      const int64_t last = (tile.seen[rows - 1].end + 15) / 16;
      if (first > done) done = first;
      near.Convert(done, last, state.keys, state.values);
      if (last > done) done = last;
      AttendTileOf(rows, tile, converted);
    });
  }
}

template <KvElement kElement>
void AttendOf(const AttendArgs& args, const AttendState& state) {
  ChunkRows chunk = {args.begin, 0, 0, 0};
  for (; chunk.begin < args.end; chunk.begin += kAttendChunk) {
    chunk.end = chunk.begin + kAttendChunk;
    if (chunk.end > args.end) chunk.end = args.end;
    while (chunk.first_row < args.num_rows &&
           args.visible_end[chunk.first_row] <= chunk.begin) {
      ++chunk.first_row;
    }
    if (chunk.first_row == args.num_rows) break;
    if (args.visible_begin == nullptr) chunk.last_row = args.num_rows;
    while (chunk.last_row < args.num_rows &&
           args.visible_begin[chunk.last_row] < chunk.end) {
      ++chunk.last_row;
    }
    AttendChunkRows<kElement>(args, state, chunk);
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
    const SeenSpan seen = SeenBy(args, r, args.begin, args.end);
    if (seen.begin >= seen.end) {
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
