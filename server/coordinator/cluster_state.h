// What the frontends are told of the cluster, made from the manager's status.

#ifndef HEADWISE_SERVER_COORDINATOR_CLUSTER_STATE_H_
#define HEADWISE_SERVER_COORDINATOR_CLUSTER_STATE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/model.h"
#include "server/dispatch/cluster_manager.h"
#include "server/frontends/head_map.h"
#include "server/membership/membership.h"
#include "server/placement/planner.h"

namespace headwise {

// The head map of a group; of none, if `status.group` is null: then it has the
// model's counts and no workers.
HeadMap MakeHeadMap(const std::string& model_name, const Hyperparameters& hyper,
                    const ModelShape& shape, const ClusterStatus& status);

// Thread-safe. `model` and `membership` must outlive it, and so must what
// `status` refers to.
class LiveClusterState final : public ClusterState {
 public:
  LiveClusterState(std::string model_name, const Model& model,
                   const ModelShape& shape, const Membership& membership,
                   std::function<ClusterStatus()> status);

  std::shared_ptr<const HeadMap> head_map() const override;
  bool ready() const override;
  std::string detail() const override;
  std::vector<MissingMember> missing_workers() const override;
  std::map<std::string, int64_t> worker_arrivals() const override;

 private:
  const std::string model_name_;
  const Model& model_;
  const ModelShape shape_;
  const Membership& membership_;
  const std::function<ClusterStatus()> status_;

  mutable absl::Mutex mutex_;
  // The group that cached_ shows: every request asks for the map.
  mutable std::shared_ptr<const FormedGroup> cached_group_
      ABSL_GUARDED_BY(mutex_);
  mutable std::shared_ptr<const HeadMap> cached_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_COORDINATOR_CLUSTER_STATE_H_
