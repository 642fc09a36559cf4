// Runs `headwise bench memory` with a model's own, learned gates.

#ifndef HEADWISE_CLIENT_CLI_BENCH_MEMORY_MODEL_H_
#define HEADWISE_CLIENT_CLI_BENCH_MEMORY_MODEL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/bench_memory_report.h"
#include "client/cli/bench_memory_task.h"
#include "client/cli/flags.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct MemoryModelOptions {
  std::string haystack;               // a text, cycled; not empty
  std::vector<int64_t> context_lens;  // tokens, >= 1
  std::vector<double> depths = {0};   // 0 to 1, of the needles
  int64_t num_needles = 8;
  int64_t spread = 512;  // tokens
  uint64_t seed = 1;     // of the first text
  int64_t num_seeds = 1;
  // Values from 0 to 1; of one thread, the engine's.
  std::function<void(double)> on_progress = [](double) {};
};

// Rows by depth, then by context, both ascending; `bytes_held` says what all
// sequences hold just then, of all ranks. The text goes through the
// engine as a prefix, and each key is asked of a fork of it; a needle is found
// if the most probable token is its value.
//
// Blocks; releases what it holds, also on an error. InvalidArgument names a
// field that is out of its range; else the engine's own errors.
absl::StatusOr<std::vector<MemoryBenchRow>> RunMemoryModel(
    Engine& engine, const RecallTask& task, const MemoryModelOptions& options,
    const std::function<int64_t()>& bytes_held);

// The same with a cluster inside this process, of the model and its task.json.
absl::StatusOr<std::vector<MemoryBenchRow>> RunMemoryModelBench(
    const ClusterFlags& flags, const MemoryModelOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_MEMORY_MODEL_H_
