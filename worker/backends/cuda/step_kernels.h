// Kernels that only a step on a device needs: what a CPU's threads do between
// the kernels of backends/cpu/kernels.h, and the lists of calls that those
// kernels take. Legend: units of a layer on this rank, rows of a batch, g =
// heads_per_kv_head, pieces of a batch (rows of one sequence each).

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_STEP_KERNELS_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_STEP_KERNELS_H_

#include "model/head_plan/context_ranges.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cuda/attend_kernel.h"
#include "worker/backends/cuda/cache_kernels.h"
#include "worker/backends/cuda/kernel.h"
#include "worker/backends/cuda/row_kernels.h"

namespace headwise::cuda {

// x[i] += bias[i % n]
struct AddBiasArgs {
  const float* bias = nullptr;  // [n]
  int64_t n = 0;
  float* x = nullptr;
  int64_t num_items = 0;
};

struct AddBias : ItemKernel<AddBias, AddBiasArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    args.x[i] = args.x[i] + args.bias[i % args.n];
  }
};

// Multiplies heads by factors of their own, or makes those 0 whose factor is
// other than 1. What has the factor 1 is not touched; an item is an element.
struct ScaleHeadsArgs {
  float* x = nullptr;                     // [units][rows][g][head_dim]
  const float* factors = nullptr;         // [units][pieces][g]
  const int64_t* piece_of_row = nullptr;  // [rows]
  bool clears = false;
  int64_t head_dim = 0;
  int64_t g = 0;
  int64_t num_rows = 0;
  int64_t num_pieces = 0;
  int64_t num_items = 0;  // units * rows * g * head_dim
};

struct ScaleHeads : ItemKernel<ScaleHeads, ScaleHeadsArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    const int64_t head = i / args.head_dim;
    const int64_t row = head / args.g;  // of [units][rows]
    const int64_t piece = args.piece_of_row[row % args.num_rows];
    const float factor =
        args.factors[(row / args.num_rows * args.num_pieces + piece) * args.g +
                     head % args.g];
    if (factor == 1.0f) return;
    args.x[i] = args.clears ? 0.0f : args.x[i] * factor;
  }
};

// Rotates heads, as worker/executor/rotation.h does, and multiplies them by
// `scale`; an item is an element.
struct RotateHeadsArgs {
  const float* in = nullptr;       // [units][rows][heads_per_row][head_dim]
  float* out = nullptr;            // the same; does not overlap `in`
  const float* cosines = nullptr;  // [rows][num_pairs]
  const float* sines = nullptr;    // [rows][num_pairs]
  int64_t num_pairs = 0;           // of the first 2 num_pairs elements
  bool is_interleaved = false;     // pairs are neighbours
  int64_t head_dim = 0;
  int64_t heads_per_row = 0;
  int64_t num_rows = 0;
  float scale = 1.0f;
  int64_t num_items = 0;  // units * rows * heads_per_row * head_dim
};

struct RotateHeads : ItemKernel<RotateHeads, RotateHeadsArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    const int64_t d = i % args.head_dim;
    if (d >= 2 * args.num_pairs) {
      args.out[i] = args.in[i] * args.scale;
      return;
    }
    const int64_t head = i / args.head_dim;
    const int64_t row = head / args.heads_per_row % args.num_rows;
    const int64_t pair = args.is_interleaved ? d / 2 : d % args.num_pairs;
    const int64_t other = args.is_interleaved ? 1 : args.num_pairs;
    const bool is_second =
        args.is_interleaved ? d % 2 == 1 : d >= args.num_pairs;
    const float* x = args.in + i - (is_second ? other : 0);
    const float* y = x + other;
    const float cosine = args.cosines[row * args.num_pairs + pair];
    const float sine = args.sines[row * args.num_pairs + pair];
    const float rotated =
        is_second ? *x * sine + *y * cosine : *x * cosine - *y * sine;
    args.out[i] = rotated * args.scale;
  }
};

// Rows [first_row, first_row + num_rows) of a batch, of one sequence whose
// context is `context_len` with them.
struct DevicePiece {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t context_len = 0;
};

// Where the blocks of a batch's sequences lie.
struct BlockTables {
  KvLayout layout;
  uint8_t* const* blocks = nullptr;  // of all units and pieces
  // [units][pieces] of this layer: index in `blocks` of the table's begin.
  const int64_t* first_blocks = nullptr;
  int64_t num_pieces = 0;

  HEADWISE_ANYWHERE uint8_t* const* Of(int64_t unit, int64_t piece) const {
    return blocks + first_blocks[unit * num_pieces + piece];
  }
};

// What stores the keys and values of a layer's rows; an item is a (unit, row).
struct ListAppendsArgs {
  BlockTables tables;
  const int64_t* positions = nullptr;     // [rows]
  const int64_t* piece_of_row = nullptr;  // [rows]
  const float* keys = nullptr;            // [units][rows][head_dim]
  const float* values = nullptr;          // [units][rows][head_dim]
  int64_t num_rows = 0;
  AppendArgs* out = nullptr;  // [units * rows]
  int64_t num_items = 0;      // units * rows
};

struct ListAppends : ItemKernel<ListAppends, ListAppendsArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    const int64_t unit = i / args.num_rows;
    const int64_t row = i % args.num_rows;
    const int64_t position = args.positions[row];
    const int64_t dim = args.tables.layout.head_dim;
    AppendArgs append;
    append.layout = args.tables.layout;
    append.block = args.tables.Of(
        unit, args.piece_of_row[row])[position / KvLayout::kPositions];
    append.slot = position % KvLayout::kPositions;
    append.key = args.keys + i * dim;
    append.value = args.values + i * dim;
    args.out[i] = append;
  }
};

// Begin of range number `index` (model/head_plan/context_ranges.h).
HEADWISE_ANYWHERE int64_t BeginOfRange(int64_t index) {
  const int64_t num_short = kLongRange / kShortRange;
  return index < num_short ? index * kShortRange
                           : (index - num_short + 1) * kLongRange;
}

// What the rows of a piece see in a unit, as parts that are merged in order:
// ranges of the sinks, then ranges of the rest. Row r of the [rows of the
// piece][g] sees, of the sinks, those below bounds[sinks_end + r]; of the rest
// what lies from bounds[begin + r] on, up to its own position.
struct UnitView {
  int64_t num_parts = 0;
  int64_t num_sink_ranges = 0;
  int64_t num_sinks = 0;
  int64_t sinks_end = 0;    // in the bounds; if there are sinks
  int64_t first_range = 0;  // of the rest
  int64_t begin = -1;       // in the bounds; -1: rows see everything
  // Parts are merged into an empty row; else the first is taken as it is.
  bool starts_empty = false;
};

struct ViewTables {
  const UnitView* views = nullptr;
  const int64_t* view_of = nullptr;  // [units][pieces] of this layer
  const int64_t* bounds = nullptr;
  int64_t num_pieces = 0;

  HEADWISE_ANYWHERE const UnitView& Of(int64_t unit, int64_t piece) const {
    return views[view_of[unit * num_pieces + piece]];
  }
};

// Parts [first_part, first_part + width) of every unit and piece of a layer.
struct PartWave {
  ViewTables views;
  int64_t first_part = 0;
  int64_t width = 0;
  float* part_out = nullptr;  // [units][width][rows][g][head_dim]
  float* part_lse = nullptr;  // [units][width][rows][g]
  int64_t num_rows = 0;
  int64_t g = 0;
};

// The calls of attention of a wave, by unit, part and piece. A piece that has
// no such part gives empty partials.
struct ListAttendsArgs {
  BlockTables tables;
  PartWave wave;
  const DevicePiece* pieces = nullptr;
  const int64_t* visible_end = nullptr;  // [rows][g]: position + 1
  const float* queries = nullptr;        // [units][rows][g][head_dim]
  AttendArgs* out = nullptr;             // [units][width][pieces]
  int64_t num_items = 0;                 // units * width * pieces
};

struct ListAttends : ItemKernel<ListAttends, ListAttendsArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    const PartWave& wave = args.wave;
    const int64_t p = i % args.tables.num_pieces;
    const int64_t part = i / args.tables.num_pieces;  // of [units][width]
    const int64_t unit = part / wave.width;
    const DevicePiece& piece = args.pieces[p];
    const int64_t dim = args.tables.layout.head_dim;
    const int64_t first = piece.first_row * wave.g;
    AttendArgs call;
    call.layout = args.tables.layout;
    call.blocks = args.tables.Of(unit, p);
    call.queries = args.queries + (unit * wave.num_rows * wave.g + first) * dim;
    call.visible_end = args.visible_end + first;
    call.num_rows = piece.num_rows * wave.g;
    const int64_t at = part * wave.num_rows * wave.g + first;
    call.out = wave.part_out + at * dim;
    call.lse = wave.part_lse + at;
    SetPositions(wave.views.Of(unit, p), wave.first_part + part % wave.width,
                 wave.views.bounds, piece.context_len, &call);
    args.out[i] = call;
  }

 private:
  HEADWISE_ANYWHERE static void SetPositions(const UnitView& view, int64_t k,
                                             const int64_t* bounds,
                                             int64_t context_len,
                                             AttendArgs* call) {
    if (k >= view.num_parts) return;  // of no positions
    const bool of_sinks = k < view.num_sink_ranges;
    const int64_t last = of_sinks ? view.num_sinks : context_len;
    call->begin = BeginOfRange(
        of_sinks ? k : view.first_range + k - view.num_sink_ranges);
    const int64_t end = RangeEnd(call->begin);
    call->end = end < last ? end : last;
    if (of_sinks) {
      call->visible_end = bounds + view.sinks_end;
    } else if (view.begin >= 0) {
      call->visible_begin = bounds + view.begin;
    }
  }
};

// Merges the partials of a wave into (out, lse) in the order of the parts. A
// block a (unit, row, head).
struct MergePartsArgs {
  PartWave wave;
  const int64_t* piece_of_row = nullptr;  // [rows]
  int64_t head_dim = 0;
  float* out = nullptr;  // [units][rows][g][head_dim]
  float* lse = nullptr;  // [units][rows][g]
};

struct MergeParts {
  using Args = MergePartsArgs;
  using Shared = NoShared;
  static constexpr int kNumThreads = 128;
  static constexpr int kNumPhases = 0;

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared&) {
    float* out = at.args.out + at.block * at.args.head_dim;
    for (int64_t d = at.thread; d < at.args.head_dim; d += kNumThreads) {
      MergeElement(at.args, at.block, d, out + d);
    }
  }

  // After all threads have read it.
  HEADWISE_ANYWHERE static void End(const At<Args>& at, Shared&) {
    if (at.thread != 0) return;
    float ignored = 0.0f;
    at.args.lse[at.block] = MergeElement(at.args, at.block, 0, &ignored);
  }

 private:
  // Merges element d of a row into *out; returns the new lse.
  HEADWISE_ANYWHERE static float MergeElement(const Args& args, int64_t block,
                                              int64_t d, float* out) {
    const PartWave& wave = args.wave;
    const int64_t width = wave.num_rows * wave.g;
    const int64_t unit = block / width;
    const int64_t row = block % width;  // of [rows][g]
    const UnitView& view = wave.views.Of(unit, args.piece_of_row[row / wave.g]);
    const int64_t left = view.num_parts - wave.first_part;
    const int64_t count = left < wave.width ? left : wave.width;
    const bool is_first = wave.first_part == 0;
    if (is_first) *out = 0.0f;
    float lse = is_first ? NegativeInfinity() : args.lse[block];
    for (int64_t k = 0; k < count; ++k) {
      const int64_t part = (unit * wave.width + k) * width + row;
      const float value = wave.part_out[part * args.head_dim + d];
      const float part_lse = wave.part_lse[part];
      if (is_first && k == 0 && !view.starts_empty) {
        *out = value;
        lse = part_lse;
      } else if (part_lse != NegativeInfinity()) {
        const MergeWeights w = WeightsOf(lse, part_lse);
        *out = Fma(w.a, *out, w.b * value);
        lse = w.lse;
      }
    }
    return lse;
  }
};

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_STEP_KERNELS_H_
