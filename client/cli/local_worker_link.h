// WorkerLink to a worker node of this process.

#ifndef HEADWISE_CLIENT_CLI_LOCAL_WORKER_LINK_H_
#define HEADWISE_CLIENT_CLI_LOCAL_WORKER_LINK_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/dispatch/worker_link.h"
#include "worker/service/worker_node.h"

namespace headwise {

// Thread-safe. `node` must outlive the link and ends before what its listeners
// refer to.
class LocalWorkerLink final : public WorkerLink {
 public:
  explicit LocalWorkerLink(WorkerNode& node) : node_(node) {}

  void Probe(absl::Duration timeout,
             std::function<void(absl::Status)> done) override;
  void Prepare(
      WorkerConfig config, absl::Duration timeout,
      std::function<void(double)> progress,
      std::function<void(absl::StatusOr<PreparedShard>)> done) override;
  void Join(uint64_t membership_epoch, std::vector<std::string> endpoints,
            absl::Duration timeout,
            std::function<void(absl::Status)> done) override;
  void OpenSteps(uint64_t membership_epoch, StepListener listener) override;
  void SendStep(uint64_t membership_epoch,
                std::shared_ptr<const Step> step) override;
  void CloseSteps() override;

 private:
  // Shared with answers that are still to come.
  struct Stream {
    Stream(uint64_t epoch, StepListener heard_by)
        : membership_epoch(epoch), listener(std::move(heard_by)) {}
    const uint64_t membership_epoch;
    const StepListener listener;
    std::atomic<bool> closed = false;
  };

  WorkerNode& node_;
  absl::Mutex mutex_;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_LOCAL_WORKER_LINK_H_
