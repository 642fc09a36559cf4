// Which worker the others wait for.

#ifndef HEADWISE_SERVER_FRONTENDS_WORKER_SKEW_H_
#define HEADWISE_SERVER_FRONTENDS_WORKER_SKEW_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

// Workers of a group take the same steps, so the means of their times to
// compute are of the same work, cut into the shares that placement dealt out to
// be equally long. Thread-safe. Keeps kMaxWorkers names; of others nothing.
class WorkerSkew {
 public:
  static constexpr size_t kMaxWorkers = 256;
  // The mean forgets in about so many steps.
  static constexpr int64_t kMemory = 64;

  // `worker` has computed for so long in a step.
  void Observe(absl::string_view worker, double compute_seconds);

  // For each of `group`, in its order: its mean time over the mean of the
  // others'. 1: as long as they; 2: twice; also 1 if it is alone or nothing has
  // been heard of it or of the others.
  std::vector<double> Ratios(const std::vector<std::string>& group) const;

 private:
  struct Mean {
    double seconds = 0.0;
    int64_t num_steps = 0;  // at most kMemory
  };
  mutable absl::Mutex mutex_;
  std::map<std::string, Mean, std::less<>> means_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_WORKER_SKEW_H_
