#include "worker/backends/cuda/host_twin.h"

#include "worker/backends/cuda/attend_kernel.h"
#include "worker/backends/cuda/cache_kernels.h"
#include "worker/backends/cuda/product_kernel.h"
#include "worker/backends/cuda/row_kernels.h"
#include "worker/backends/cuda/run_on_host.h"

namespace headwise::cuda {
namespace {

template <class K>
void RunItems(const typename K::Args& args) {
  RunOnHost<K>(args, K::NumBlocks(args));
}

void TwinRmsNorm(const float* x, const float* weight, float epsilon, int64_t n,
                 float* out) {
  RunOnHost<RmsNorm>({x, weight, epsilon, n, out}, 1);
}

void TwinQuantize(const float* x, int64_t n, const QuantizedRow& out) {
  RunItems<Quantize>({x, out, n / 32});
}

void TwinMatMul(const MatMulArgs& args) {
  WithProductOf(args.format, [&args]<class K>() {
    RunOnHost<K>(args, NumProductBlocks(args));
  });
}

void TwinRopeAngles(double position, const double* inverse_frequencies,
                    int64_t num_pairs, double magnitude, float* cosines,
                    float* sines) {
  RunItems<RopeAngles>({&position, inverse_frequencies, num_pairs, magnitude,
                        cosines, sines, num_pairs});
}

void TwinSiluMultiply(const float* gate, const float* up, int64_t n,
                      float* out) {
  RunItems<SiluMultiply>({gate, up, out, n});
}

void TwinAppend(const AppendArgs& args) { RunOnHost<Append>({&args}, 1); }

void TwinAttend(const AttendArgs& args) {
  const int64_t first_blocks[2] = {
      0, (args.num_rows + kAttendRows - 1) / kAttendRows};
  RunOnHost<Attend>({&args, first_blocks, 1}, first_blocks[1]);
}

void TwinScores(const ScoresArgs& args) {
  if (args.begin >= args.end) return;
  RunItems<Scores>({args, args.num_rows * (args.end - args.begin)});
}

void TwinMerge(const MergeArgs& args) { RunOnHost<Merge>(args, args.num_rows); }

void TwinAddFixedPoint(const int64_t* acc, int64_t n, float* x) {
  RunItems<AddFixedPoint>({acc, x, n});
}

SoftmaxStats TwinStats(const float* x, int64_t n) {
  SoftmaxStats stats;
  RunOnHost<Stats>({x, n, &stats}, 1);
  return stats;
}

void TwinExpBelow(const float* x, int64_t n, float max, float* p) {
  RunItems<ExpBelow>({x, max, p, n});
}

float TwinMaxOf(const float* x, int64_t n) { return TwinStats(x, n).max; }

Kernels MakeTable() {
  Kernels table;
  table.rms_norm = TwinRmsNorm;
  table.quantize = TwinQuantize;
  table.matmul = TwinMatMul;
  table.rope_angles = TwinRopeAngles;
  table.silu_multiply = TwinSiluMultiply;
  table.append = TwinAppend;
  table.attend = TwinAttend;
  table.scores = TwinScores;
  table.merge = TwinMerge;
  table.add_fixed_point = TwinAddFixedPoint;
  table.softmax_stats = TwinStats;
  table.exp_below = TwinExpBelow;
  table.max_of = TwinMaxOf;
  table.log_one = Log;
  table.exp_one = Exp;
  return table;
}

}  // namespace

const Kernels& HostTwin() {
  static const Kernels table = MakeTable();
  return table;
}

}  // namespace headwise::cuda
