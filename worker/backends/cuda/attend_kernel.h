// Partial attention over ranges of units' caches, scores alone, and the merge
// of partials.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_ATTEND_KERNEL_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_ATTEND_KERNEL_H_

#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cuda/cache_kernels.h"
#include "worker/backends/cuda/kernel.h"
#include "worker/backends/cuda/row_kernels.h"

namespace headwise::cuda {

inline constexpr int kAttendRows = 4;  // of a block
inline constexpr int64_t kMaxHeadDim = 1024;

// Calls as those of the CPU's `attend`, all at once; `scratch` is not used. A
// block (CallOf) for each kAttendRows rows.
struct AttendManyArgs {
  const AttendArgs* calls = nullptr;      // [num_calls]
  const int64_t* first_blocks = nullptr;  // [num_calls + 1]
  int64_t num_calls = 0;
};

// A block takes a call's rows through its range, a chunk of 256 positions a
// round: scores by position, a row's exponentials by lane, values by dimension.
struct Attend {
  using Args = AttendManyArgs;
  static constexpr int kNumThreads = 128;
  static constexpr int kNumPhases = 5;
  struct Row {
    int64_t seen_begin;  // of positions
    int64_t seen_end;
    float max;
    float sum;
    float factor;  // of what was gathered before this chunk
    float lane_max[16];
    float lane_sum[16];
  };
  struct Shared {
    int64_t call;
    int64_t first_row;
    int num_rows;
    Row rows[kAttendRows];
    float queries[kAttendRows][kMaxHeadDim];
    float out[kAttendRows][kMaxHeadDim];
    float scores[kAttendRows][kAttendChunk];
  };

  HEADWISE_ANYWHERE static int64_t NumRounds(const Args& args, int64_t block) {
    const AttendArgs& call =
        args.calls[CallOf(args.first_blocks, args.num_calls, block)];
    const int64_t chunks =
        (call.end - call.begin + kAttendChunk - 1) / kAttendChunk;
    return chunks < 0 ? 0 : chunks;
  }

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared& shared) {
    const int64_t c = CallOf(at.args.first_blocks, at.args.num_calls, at.block);
    const AttendArgs& call = at.args.calls[c];
    const int64_t first_row =
        (at.block - at.args.first_blocks[c]) * kAttendRows;
    const int64_t rest = call.num_rows - first_row;
    const int num_rows =
        rest < kAttendRows ? static_cast<int>(rest) : kAttendRows;
    if (at.thread == 0) {
      shared.call = c;
      shared.first_row = first_row;
      shared.num_rows = num_rows;
    }
    const int64_t dim = call.layout.head_dim;
    for (int r = 0; r < num_rows; ++r) {
      if (at.thread == r) shared.rows[r] = NewRow(call, first_row + r);
      for (int64_t d = at.thread; d < dim; d += kNumThreads) {
        shared.queries[r][d] = call.queries[(first_row + r) * dim + d];
        shared.out[r][d] = 0.0f;
      }
    }
  }

  template <int kPhase>
  HEADWISE_ANYWHERE static void Phase(const At<Args>& at, Shared& shared) {
    const AttendArgs& call = at.args.calls[shared.call];
    const int64_t begin = call.begin + at.round * kAttendChunk;
    const int r = at.thread / 16;  // 16 threads a row
    if constexpr (kPhase == 0) {
      Score(call, begin, at.thread, shared);
    } else if constexpr (kPhase == 4) {
      AddValues(call, begin, at.thread, shared);
    } else if (r < shared.num_rows && SeesSome(shared.rows[r], begin)) {
      float* scores = shared.scores[r];
      Row& row = shared.rows[r];
      if constexpr (kPhase == 1) LaneMax(scores, at.thread % 16, row);
      if constexpr (kPhase == 2) LaneExp(scores, at.thread % 16, row);
      if constexpr (kPhase == 3) {
        if (at.thread % 16 == 0) Join(row);
      }
    } else if (kPhase == 3 && r < shared.num_rows && at.thread % 16 == 0) {
      shared.rows[r].factor = 1.0f;
    }
  }

  HEADWISE_ANYWHERE static void End(const At<Args>& at, Shared& shared) {
    const AttendArgs& call = at.args.calls[shared.call];
    const int64_t dim = call.layout.head_dim;
    for (int r = 0; r < shared.num_rows; ++r) {
      const Row& row = shared.rows[r];
      const bool is_empty = row.seen_begin >= row.seen_end;
      const float scale = is_empty ? 0.0f : 1.0f / row.sum;
      float* out = call.out + (shared.first_row + r) * dim;
      for (int64_t d = at.thread; d < dim; d += kNumThreads) {
        out[d] = is_empty ? 0.0f : shared.out[r][d] * scale;
      }
      if (at.thread != r) continue;
      call.lse[shared.first_row + r] =
          is_empty ? NegativeInfinity() : row.max + Log(row.sum);
    }
  }

 private:
  HEADWISE_ANYWHERE static Row NewRow(const AttendArgs& call, int64_t r) {
    Row row;
    row.seen_begin = call.visible_begin == nullptr ? 0 : call.visible_begin[r];
    row.seen_end = call.visible_end[r];
    if (row.seen_begin < call.begin) row.seen_begin = call.begin;
    if (row.seen_end > call.end) row.seen_end = call.end;
    row.max = NegativeInfinity();
    row.sum = 0.0f;
    row.factor = 1.0f;
    return row;
  }

  HEADWISE_ANYWHERE static bool Sees(const Row& row, int64_t position) {
    return position >= row.seen_begin && position < row.seen_end;
  }

  HEADWISE_ANYWHERE static bool SeesSome(const Row& row, int64_t begin) {
    return row.seen_begin < row.seen_end && row.seen_end > begin &&
           row.seen_begin < begin + kAttendChunk;
  }

  HEADWISE_ANYWHERE static bool AnySees(const Shared& shared,
                                        int64_t position) {
    for (int r = 0; r < shared.num_rows; ++r) {
      if (Sees(shared.rows[r], position)) return true;
    }
    return false;
  }

  // A position for each thread; what a row does not see is -inf.
  HEADWISE_ANYWHERE static void Score(const AttendArgs& call, int64_t begin,
                                      int thread, Shared& shared) {
    for (int64_t j = thread; j < kAttendChunk; j += kNumThreads) {
      const int64_t position = begin + j;
      float acc[kAttendRows] = {};
      if (AnySees(shared, position)) {
        const uint8_t* block = call.blocks[position / KvLayout::kPositions];
        const int64_t slot = position % KvLayout::kPositions;
        for (int64_t d = 0; d < call.layout.head_dim; ++d) {
          const float key = LoadKey(call.layout, block, slot, d);
          for (int r = 0; r < kAttendRows; ++r) {
            acc[r] = Fma(shared.queries[r][d], key, acc[r]);
          }
        }
      }
      for (int r = 0; r < shared.num_rows; ++r) {
        shared.scores[r][j] =
            Sees(shared.rows[r], position) ? acc[r] : NegativeInfinity();
      }
    }
  }

  HEADWISE_ANYWHERE static void LaneMax(const float* scores, int lane,
                                        Row& row) {
    float max = NegativeInfinity();
    for (int t = 0; t < kAttendChunk / 16; ++t) {
      max = Max(scores[16 * t + lane], max);
    }
    row.lane_max[lane] = max;
  }

  HEADWISE_ANYWHERE static float NewMax(const Row& row) {
    float max = row.max;
    for (int lane = 0; lane < 16; ++lane) max = Max(row.lane_max[lane], max);
    return max;
  }

  // Scores become exp(score - max): 0 for what is not seen.
  HEADWISE_ANYWHERE static void LaneExp(float* scores, int lane, Row& row) {
    const float max = NewMax(row);
    float sum = 0.0f;
    for (int t = 0; t < kAttendChunk / 16; ++t) {
      const float p = Exp(scores[16 * t + lane] - max);
      sum = sum + p;
      scores[16 * t + lane] = p;
    }
    row.lane_sum[lane] = sum;
  }

  HEADWISE_ANYWHERE static void Join(Row& row) {
    const float max = NewMax(row);
    row.factor = max == row.max ? 1.0f : Exp(row.max - max);
    row.sum = Fma(row.sum, row.factor, SumOfLanes(row.lane_sum));
    row.max = max;
  }

  // A dimension for each thread. Nothing is added for a position that a row
  // does not see.
  HEADWISE_ANYWHERE static void AddValues(const AttendArgs& call, int64_t begin,
                                          int thread, Shared& shared) {
    for (int64_t d = thread; d < call.layout.head_dim; d += kNumThreads) {
      float acc[kAttendRows] = {};
      for (int r = 0; r < shared.num_rows; ++r) {
        acc[r] = shared.out[r][d];
        const float factor = shared.rows[r].factor;
        if (factor != 1.0f) acc[r] = acc[r] * factor;
      }
      for (int64_t j = 0; j < kAttendChunk; ++j) {
        const int64_t position = begin + j;
        if (!AnySees(shared, position)) continue;
        const float value =
            LoadValue(call.layout, call.blocks[position / KvLayout::kPositions],
                      position % KvLayout::kPositions, d);
        for (int r = 0; r < shared.num_rows; ++r) {
          if (Sees(shared.rows[r], position)) {
            acc[r] = Fma(shared.scores[r][j], value, acc[r]);
          }
        }
      }
      for (int r = 0; r < shared.num_rows; ++r) shared.out[r][d] = acc[r];
    }
  }
};

// Scores as those of the CPU's `scores`; an item is a (row, position).
struct ScoresOfArgs {
  ScoresArgs call;
  int64_t num_items = 0;  // num_rows * (end - begin)
};

struct Scores : ItemKernel<Scores, ScoresOfArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    const ScoresArgs& call = args.call;
    const int64_t num_positions = call.end - call.begin;
    const int64_t r = i / num_positions;
    const int64_t j = i % num_positions;
    const int64_t position = call.begin + j;
    const uint8_t* block = call.blocks[position / KvLayout::kPositions];
    float acc = 0.0f;
    for (int64_t d = 0; d < call.layout.head_dim; ++d) {
      acc = Fma(call.queries[r * call.layout.head_dim + d],
                LoadKey(call.layout, block, position % KvLayout::kPositions, d),
                acc);
    }
    call.out[r * call.out_stride + j] = acc;
  }
};

// Of two partials of log-sum-exps a and b: their shares of the sum, and its own
// log-sum-exp. b is not -inf.
struct MergeWeights {
  float a;
  float b;
  float lse;
};
HEADWISE_ANYWHERE MergeWeights WeightsOf(float a, float b) {
  const float max = b > a ? b : a;
  const float weight_a = Exp(a - max);
  const float weight_b = Exp(b - max);
  const float sum = weight_a + weight_b;
  return {weight_a / sum, weight_b / sum, max + Log(sum)};
}

// The CPU's `merge`; a block a row.
struct Merge {
  using Args = MergeArgs;
  using Shared = NoShared;
  static constexpr int kNumThreads = 128;
  static constexpr int kNumPhases = 0;

  HEADWISE_ANYWHERE static void Begin(const At<Args>& at, Shared&) {
    const float a = at.args.lse[at.block];
    const float b = at.args.part_lse[at.block];
    if (b == NegativeInfinity()) return;
    const MergeWeights w = WeightsOf(a, b);
    float* out = at.args.out + at.block * at.args.head_dim;
    const float* part = at.args.part_out + at.block * at.args.head_dim;
    for (int64_t d = at.thread; d < at.args.head_dim; d += kNumThreads) {
      out[d] = Fma(w.a, out[d], w.b * part[d]);
    }
  }

  // After all threads have read it.
  HEADWISE_ANYWHERE static void End(const At<Args>& at, Shared&) {
    if (at.thread != 0) return;
    const float a = at.args.lse[at.block];
    const float b = at.args.part_lse[at.block];
    if (b == NegativeInfinity()) return;
    at.args.lse[at.block] = WeightsOf(a, b).lse;
  }
};

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_ATTEND_KERNEL_H_
