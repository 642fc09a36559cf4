// Where worker nodes of one process find each other's group.

#ifndef HEADWISE_WORKER_SERVICE_IN_PROCESS_RENDEZVOUS_H_
#define HEADWISE_WORKER_SERVICE_IN_PROCESS_RENDEZVOUS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

// Thread-safe. Gives every rank of an epoch its end of one in-process group;
// the last kMaxEpochs epochs are kept, older ones can't be joined any more.
class InProcessRendezvous {
 public:
  static constexpr size_t kMaxEpochs = 4;

  // The pending group must not outlive the rendezvous. InvalidArgument if ranks
  // of one epoch disagree on the world size.
  absl::StatusOr<std::unique_ptr<PendingGroup>> Prepare(const GroupSpec& spec);

 private:
  class Pending;

  absl::StatusOr<std::unique_ptr<Group>> Take(const GroupSpec& spec);

  absl::Mutex mutex_;
  // By epoch; [world_size], null once its rank has joined.
  std::map<uint64_t, std::vector<std::unique_ptr<Group>>> groups_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_IN_PROCESS_RENDEZVOUS_H_
