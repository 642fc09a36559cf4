// One of several coordinators: what it does while it leads, and while another
// one does.

#ifndef HEADWISE_SERVER_COORDINATOR_LEAD_H_
#define HEADWISE_SERVER_COORDINATOR_LEAD_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/dispatch/cluster_manager.h"
#include "server/dispatch/coordinator.h"
#include "server/election/elector.h"

namespace headwise {

// Thread-safe. To be destroyed after the coordinator.
class Lead {
 public:
  // Makes `coordinator` a standby. `on_change` hears of each change, on the
  // elector's thread. Both must outlive Leave.
  void Begin(Coordinator& coordinator, std::function<void()> on_change);
  // From now on it may lead. The callbacks of `options` are filled in.
  void Join(ElectorOptions options);
  // Gives the lead up; for good.
  void Leave();

  // Orders may go to workers now.
  bool MayCommand() const;
  // OK if it leads. Else Unavailable, with the leader's address where it is
  // known: what clients and workers are told.
  absl::Status Check() const;
  // `status` of the cluster, as a standby shows it.
  ClusterStatus Show(ClusterStatus status) const;

 private:
  void Follow(const std::string& leader);
  void Set(absl::Status status);

  Coordinator* coordinator_ = nullptr;
  std::function<void()> on_change_;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Elector> elector_;
  std::atomic<Elector*> published_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_COORDINATOR_LEAD_H_
