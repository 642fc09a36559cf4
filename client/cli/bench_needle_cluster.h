// Runs the needle tests of several contexts on a cluster inside this process.

#ifndef HEADWISE_CLIENT_CLI_BENCH_NEEDLE_CLUSTER_H_
#define HEADWISE_CLIENT_CLI_BENCH_NEEDLE_CLUSTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/bench_needle_report.h"
#include "client/cli/bench_needle_texts.h"
#include "client/cli/flags.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

struct NeedleBenchOptions {
  ClusterFlags cluster;                  // context_len is not looked at
  std::shared_ptr<const HeadPlan> plan;  // null: every unit full
  NeedleTaskOptions task;                // context_len is not looked at
  std::vector<int64_t> context_lens;
  bool independent = false;
  bool baseline = false;
  int64_t parallel = 0;  // 0: all seeds of a depth, or as many as memory has
  // File of finished tests, which are not run again; empty: none.
  std::string state;
  // Values from 0 to 1: of loading, by any thread, one at a time; of the tests,
  // by one thread.
  std::function<void(double)> on_loading = [](double) {};
  std::function<void(double)> on_progress = [](double) {};
};

// One report for each context, in their order. InvalidArgument: a context that
// is too short, or longer than the plan allows, which tells how long it may be;
// ResourceExhausted: more KV than the memory has, before anything is run.
absl::StatusOr<std::vector<NeedleContextReport>> RunNeedleBench(
    const NeedleBenchOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_NEEDLE_CLUSTER_H_
