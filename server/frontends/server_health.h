// What /healthz and grpc.health.v1 say of a coordinator.

#ifndef HEADWISE_SERVER_FRONTENDS_SERVER_HEALTH_H_
#define HEADWISE_SERVER_FRONTENDS_SERVER_HEALTH_H_

#include <atomic>
#include <string>

#include "absl/status/status.h"
#include "server/frontends/head_map.h"
#include "server/frontends/open_calls.h"

namespace headwise {

// Three questions, each asked anew every time: nothing that could be out of
// date is kept. Thread-safe; returns at once. A status that is not OK is
// Unavailable and says why.
class ServerHealth {
 public:
  // Both must outlive it.
  ServerHealth(const ClusterState& cluster, const OpenCalls& open_calls)
      : cluster_(cluster), open_calls_(open_calls) {}

  // It has served once: a group has stood. Never takes it back.
  absl::Status Startup() const;
  // No thread is late (base/pulse.h). If one is, only a restart helps. A server
  // that has more to do than it can is live, and so is one without workers.
  absl::Status Live() const;
  // New work would be taken now: it is live, a group stands, and it does not
  // drain. A full queue is no reason: it drains within about a second.
  absl::Status Ready() const;
  // It is live and does not drain: of the empty name of grpc.health.v1.
  absl::Status Serving() const;

  // What serves, and a line for each worker that is missing; for people.
  std::string Detail() const;

 private:
  const ClusterState& cluster_;
  const OpenCalls& open_calls_;
  mutable std::atomic<bool> has_stood_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SERVER_HEALTH_H_
