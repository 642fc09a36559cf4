// The frontends of one cluster, and the hooks through which it speaks to them.

#ifndef HEADWISE_SERVER_COORDINATOR_CLUSTER_FRONTENDS_H_
#define HEADWISE_SERVER_COORDINATOR_CLUSTER_FRONTENDS_H_

#include <atomic>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/chat_template/chat_template.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"
#include "server/coordinator/cluster_state.h"
#include "server/dispatch/cluster_dispatcher.h"
#include "server/dispatch/cluster_manager.h"
#include "server/frontends/server_frontends.h"

namespace headwise {

// The cluster is made first, since the frontends need its engine, and speaks
// through the hooks from then on: before Start they hear nothing. Calls of
// clients reach into the cluster, so Shutdown ends them before the cluster is
// destroyed, and this object is destroyed after it.
class ClusterFrontends {
 public:
  std::function<void(const StepSample&)> on_sample();
  std::function<void(const GroupChange&)> on_change();

  // As of ServerFrontendsDeps.
  struct Parts {
    std::vector<grpc::Service*> extra_services = {};
    AttentionSessions* attention = nullptr;
    NeuralMemories* memories = nullptr;
    CoordinatorBooks* books = nullptr;
    std::function<absl::Status()> leads = nullptr;
  };

  // Reads tokenizer and chat template of `model` and serves. `model`, `engine`,
  // `membership`, and what `status` and `parts` refer to must live until
  // Shutdown has returned. A chat template that can't be read only costs Chat:
  // a warning.
  absl::Status Start(const ServerFrontendsOptions& options, const Model& model,
                     Engine& engine, const Membership& membership,
                     std::function<ClusterStatus()> status, Parts parts);

  // See ServerFrontends; no effect if Start failed or was not called.
  void Drain(absl::Duration grace);
  void Shutdown(absl::Duration grace);

  // Requires that Start has succeeded.
  ServerFrontends& frontends() { return *frontends_; }

 private:
  absl::Status OpenText(const Model& model);

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;  // null: the model has none
  std::unique_ptr<LiveClusterState> state_;
  std::unique_ptr<ServerFrontends> frontends_;
  // frontends_ while hooks may use it.
  std::atomic<ServerFrontends*> published_ = nullptr;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_COORDINATOR_CLUSTER_FRONTENDS_H_
