// Runs `headwise bench memory` with hand-set gates: what a memory holds of a
// few needles once many tokens of filler went through it, and what others hold.

#ifndef HEADWISE_CLIENT_CLI_BENCH_MEMORY_RUNNER_H_
#define HEADWISE_CLIENT_CLI_BENCH_MEMORY_RUNNER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/bench_memory_report.h"
#include "model/memory_spec.h"
#include "worker/backends/cpu/isa.h"

namespace headwise {

// Names of what stands beside "memory", which differs from it in one point:
//   linear         one layer
//   no-momentum    eta 0
//   no-forgetting  alpha 0
//   careless       filler is written at careless_theta
//   window         attention over the last `window` tokens, KV in fp16
//   full           attention over all tokens, KV in fp16
std::vector<std::string> MemoryBaselines();

struct MemoryBenchOptions {
  // The method page's: random values owe nothing to their keys, so nothing is
  // added to what the layers give.
  MemorySpec spec = {.residual = false};
  int64_t num_heads = 1;         // 1 to 64; each on its part of a row
  int64_t num_needles = 8;       // 1 to num_candidates
  int64_t num_candidates = 512;  // to 65536
  double needle_theta = 0.45;    // 0 to 1000
  double filler_theta = 1e-6;    // 0 to 1000
  double careless_theta = 0.01;  // 0 to 1000
  double eta = 0.5;              // 0 to 1, of all tokens
  double alpha = 1e-7;           // 0 to 1, of all tokens
  int64_t window = 512;          // tokens, >= 1
  std::vector<std::string> baselines = MemoryBaselines();
  std::vector<int64_t> context_lens;  // filler tokens, >= 1
  uint64_t seed = 1;                  // of the first run
  int64_t num_seeds = 1;              // runs, >= 1
  int threads = 1;                    // >= 1
  Isa isa = Isa::kAvx2;               // that this machine has
  // Values from 0 to 1, by one thread.
  std::function<void(double)> on_progress = [](double) {};
};

// Rows by contender, the memory first, then by context, ascending. A needle
// counts as found if its value's inner product with what its key reads, over
// all heads, is above those of all other candidates. tokens_per_second is of
// one head on one thread, the making of filler left out.
//
// InvalidArgument names a field that is out of its range; ResourceExhausted:
// "full" needs more bytes than the machine has; OutOfRange names a contender
// whose weights went beyond spec.max_norm.
absl::StatusOr<std::vector<MemoryBenchRow>> RunMemoryBench(
    const MemoryBenchOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_MEMORY_RUNNER_H_
