// Finished needle tests on disk, so that a bench of hours can be taken up
// again, on another machine too: answers are equal everywhere.

#ifndef HEADWISE_CLIENT_CLI_BENCH_NEEDLE_STATE_H_
#define HEADWISE_CLIENT_CLI_BENCH_NEEDLE_STATE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/bench_needle_runner.h"
#include "client/cli/finished_tests_file.h"

namespace headwise {

// Not thread-safe.
class NeedleState {
 public:
  // Takes up what the file has, if there is one. InvalidArgument if it is of
  // another bench than `manifest` says, or not what we write.
  static absl::StatusOr<NeedleState> Open(const std::string& path,
                                          const std::string& manifest);

  // What is known of one context under the plan, or with every unit full.
  // InvalidArgument names a test that the task does not have.
  absl::StatusOr<NeedleOutcome> Known(int64_t context_len, bool is_baseline,
                                      const NeedleTask& task) const;

  // Once a test has ended; `outcome` has it.
  absl::Status Add(int64_t context_len, bool is_baseline, size_t test,
                   const NeedleOutcome& outcome);

 private:
  explicit NeedleState(FinishedTestsFile file) : file_(std::move(file)) {}

  FinishedTestsFile file_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_NEEDLE_STATE_H_
