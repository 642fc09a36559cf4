#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <vector>

#include "worker/backends/cuda/attend_kernel.h"
#include "worker/backends/cuda/cache_kernels.h"
#include "worker/backends/cuda/device_table.h"
#include "worker/backends/cuda/launch.cuh"
#include "worker/backends/cuda/product_kernel.h"
#include "worker/backends/cuda/row_kernels.h"

namespace headwise::cuda {
namespace {

void Check(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

// The device's copies of a call's arrays. Run copies those back that are not
// const.
class Call {
 public:
  ~Call() {
    for (const Copy& copy : copies_) cudaFree(copy.device);
  }

  template <class T>
  T* Take(T* host, int64_t n) {
    if (host == nullptr || n <= 0) return nullptr;
    const Copy copy = {nullptr, const_cast<std::remove_const_t<T>*>(host),
                       static_cast<int64_t>(n * sizeof(T)),
                       !std::is_const_v<T>};
    copies_.push_back(copy);
    Check("cudaMalloc", cudaMalloc(&copies_.back().device, copy.num_bytes));
    Check("copying to the GPU",
          cudaMemcpy(copies_.back().device, host, copy.num_bytes,
                     cudaMemcpyHostToDevice));
    return static_cast<T*>(copies_.back().device);
  }

  template <class K>
  void Run(const char* name, const typename K::Args& args, int64_t num_blocks) {
    Check(name, Launch<K>(args, num_blocks, nullptr));
    Check(name, cudaDeviceSynchronize());
    for (const Copy& copy : copies_) {
      if (!copy.returns) continue;
      Check("copying from the GPU",
            cudaMemcpy(copy.host, copy.device, copy.num_bytes,
                       cudaMemcpyDeviceToHost));
    }
  }

 private:
  struct Copy {
    void* device;
    void* host;
    int64_t num_bytes;
    bool returns;
  };
  std::vector<Copy> copies_;
};

void DeviceRmsNorm(const float* x, const float* weight, float epsilon,
                   int64_t n, float* out) {
  Call call;
  call.Run<RmsNorm>(
      "rms_norm",
      {call.Take(x, n), call.Take(weight, n), epsilon, n, call.Take(out, n)},
      1);
}

void DeviceQuantize(const float* x, int64_t n, const QuantizedRow& out) {
  Call call;
  const QuantizeArgs args = {
      call.Take(x, n),
      {call.Take(out.q, n), call.Take(out.scale, n / 32),
       call.Take(out.scaled_sum, n / 32), call.Take(out.half_offset, n / 16)},
      n / 32};
  call.Run<Quantize>("quantize", args, Quantize::NumBlocks(args));
}

void DeviceMatMul(const MatMulArgs& host) {
  Call call;
  MatMulArgs args = host;
  const int64_t tokens = host.num_tokens;
  args.weights = call.Take(host.weights, host.last_group * host.group_bytes);
  if (IsQuantized(host.format)) {
    const int64_t n = host.rows.n;
    args.rows.q = call.Take(host.rows.q, tokens * n);
    args.rows.scale = call.Take(host.rows.scale, tokens * n / 32);
    args.rows.scaled_sum = call.Take(host.rows.scaled_sum, tokens * n / 32);
    args.rows.half_offset = call.Take(host.rows.half_offset, tokens * n / 16);
  } else {
    args.x = call.Take(host.x, (tokens - 1) * host.x_stride + host.cols);
  }
  const int64_t num_results = (tokens - 1) * host.out_stride +
                              16 * (host.last_group - host.first_group);
  if (host.sink == ProductSink::kAddExact) {
    args.acc = call.Take(host.acc, num_results);
    args.not_exact = call.Take(host.not_exact, 1);
  } else {
    args.out = call.Take(host.out, num_results);
  }
  WithProductOf(host.format, [&]<class K>() {
    call.Run<K>("matmul", args, NumProductBlocks(args));
  });
}

void DeviceRopeAngles(double position, const double* inverse_frequencies,
                      int64_t num_pairs, double magnitude, float* cosines,
                      float* sines) {
  Call call;
  const double* positions = &position;
  const RopeAnglesArgs args = {call.Take(positions, 1),
                               call.Take(inverse_frequencies, num_pairs),
                               num_pairs,
                               magnitude,
                               call.Take(cosines, num_pairs),
                               call.Take(sines, num_pairs),
                               num_pairs};
  call.Run<RopeAngles>("rope_angles", args, RopeAngles::NumBlocks(args));
}

void DeviceSiluMultiply(const float* gate, const float* up, int64_t n,
                        float* out) {
  Call call;
  const SiluMultiplyArgs args = {call.Take(gate, n), call.Take(up, n),
                                 call.Take(out, n), n};
  call.Run<SiluMultiply>("silu_multiply", args, SiluMultiply::NumBlocks(args));
}

void DeviceAppend(const AppendArgs& host) {
  Call call;
  AppendArgs args = host;
  args.block = call.Take(host.block, host.layout.block_bytes());
  args.key = call.Take(host.key, host.layout.head_dim);
  args.value = call.Take(host.value, host.layout.head_dim);
  const AppendArgs* append = &args;
  call.Run<Append>("append", {call.Take(append, 1)}, 1);
}

// Pointers to the device's copies of blocks; nullptr stays.
const uint8_t* const* BlocksOf(Call& call, const KvLayout& layout,
                               const uint8_t* const* blocks, int64_t end) {
  std::vector<const uint8_t*> pointers;
  const int64_t num_blocks =
      (end + KvLayout::kPositions - 1) / KvLayout::kPositions;
  for (int64_t b = 0; b < num_blocks; ++b) {
    pointers.push_back(call.Take(blocks[b], layout.block_bytes()));
  }
  const uint8_t* const* first = pointers.data();
  return call.Take(first, num_blocks);
}

void DeviceAttend(const AttendArgs& host) {
  Call call;
  const int64_t rows = host.num_rows;
  const int64_t dim = host.layout.head_dim;
  AttendArgs args = host;
  args.blocks = BlocksOf(call, host.layout, host.blocks, host.end);
  args.queries = call.Take(host.queries, rows * dim);
  args.visible_begin = call.Take(host.visible_begin, rows);
  args.visible_end = call.Take(host.visible_end, rows);
  args.out = call.Take(host.out, rows * dim);
  args.lse = call.Take(host.lse, rows);
  const int64_t num_blocks = (rows + kAttendRows - 1) / kAttendRows;
  const int64_t first_blocks[2] = {0, num_blocks};
  const AttendArgs* calls = &args;
  const int64_t* firsts = first_blocks;
  call.Run<Attend>("attend", {call.Take(calls, 1), call.Take(firsts, 2), 1},
                   num_blocks);
}

void DeviceScores(const ScoresArgs& host) {
  if (host.begin >= host.end) return;
  Call call;
  ScoresArgs args = host;
  args.blocks = BlocksOf(call, host.layout, host.blocks, host.end);
  args.queries = call.Take(host.queries, host.num_rows * host.layout.head_dim);
  args.out = call.Take(
      host.out, (host.num_rows - 1) * host.out_stride + host.end - host.begin);
  const ScoresOfArgs of = {args, host.num_rows * (host.end - host.begin)};
  call.Run<Scores>("scores", of, Scores::NumBlocks(of));
}

void DeviceMerge(const MergeArgs& host) {
  Call call;
  MergeArgs args = host;
  args.out = call.Take(host.out, host.num_rows * host.head_dim);
  args.lse = call.Take(host.lse, host.num_rows);
  args.part_out = call.Take(host.part_out, host.num_rows * host.head_dim);
  args.part_lse = call.Take(host.part_lse, host.num_rows);
  call.Run<Merge>("merge", args, host.num_rows);
}

void DeviceAddFixedPoint(const int64_t* acc, int64_t n, float* x) {
  Call call;
  const AddFixedPointArgs args = {call.Take(acc, n), call.Take(x, n), n};
  call.Run<AddFixedPoint>("add_fixed_point", args,
                          AddFixedPoint::NumBlocks(args));
}

SoftmaxStats DeviceStats(const float* x, int64_t n) {
  Call call;
  SoftmaxStats stats;
  call.Run<Stats>("softmax_stats", {call.Take(x, n), n, call.Take(&stats, 1)},
                  1);
  return stats;
}

void DeviceExpBelow(const float* x, int64_t n, float max, float* p) {
  Call call;
  const ExpBelowArgs args = {call.Take(x, n), max, call.Take(p, n), n};
  call.Run<ExpBelow>("exp_below", args, ExpBelow::NumBlocks(args));
}

float DeviceMaxOf(const float* x, int64_t n) { return DeviceStats(x, n).max; }

// exp and log are parts of kernels; alone they run as this.
struct OneArgs {
  const float* x = nullptr;
  float* out = nullptr;
  int64_t num_items = 0;
};
struct ExpOne : ItemKernel<ExpOne, OneArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    args.out[i] = Exp(args.x[i]);
  }
};
struct LogOne : ItemKernel<LogOne, OneArgs> {
  HEADWISE_ANYWHERE static void Item(const Args& args, int64_t i) {
    args.out[i] = Log(args.x[i]);
  }
};

template <class K>
float RunOne(const char* name, float x) {
  Call call;
  float out = 0.0f;
  const float* in = &x;
  call.Run<K>(name, {call.Take(in, 1), call.Take(&out, 1), 1}, 1);
  return out;
}

float DeviceExpOne(float x) { return RunOne<ExpOne>("exp", x); }
float DeviceLogOne(float x) { return RunOne<LogOne>("log", x); }

Kernels MakeTable() {
  Kernels table;
  table.rms_norm = DeviceRmsNorm;
  table.quantize = DeviceQuantize;
  table.matmul = DeviceMatMul;
  table.rope_angles = DeviceRopeAngles;
  table.silu_multiply = DeviceSiluMultiply;
  table.append = DeviceAppend;
  table.attend = DeviceAttend;
  table.scores = DeviceScores;
  table.merge = DeviceMerge;
  table.add_fixed_point = DeviceAddFixedPoint;
  table.softmax_stats = DeviceStats;
  table.exp_below = DeviceExpBelow;
  table.max_of = DeviceMaxOf;
  table.log_one = DeviceLogOne;
  table.exp_one = DeviceExpOne;
  return table;
}

}  // namespace

const Kernels& DeviceTable() {
  static const Kernels table = MakeTable();
  return table;
}

}  // namespace headwise::cuda
