// What every service of the coordinator works with.

#ifndef HEADWISE_SERVER_FRONTENDS_FRONTEND_CONTEXT_H_
#define HEADWISE_SERVER_FRONTENDS_FRONTEND_CONTEXT_H_

#include "absl/time/time.h"
#include "base/clock.h"
#include "grpcpp/server_context.h"
#include "server/frontends/head_map.h"
#include "server/frontends/open_calls.h"
#include "server/frontends/served_model.h"
#include "server/frontends/server_metrics.h"
#include "server/scheduler/engine.h"

namespace headwise {

// The references must outlive the services.
struct FrontendContext {
  Engine& engine;
  const ServedModel& model;
  const ClusterState& cluster;
  ServerMetrics& metrics;
  OpenCalls& open_calls;
  const Clock& clock;
  // A client may set no deadline; the engine never holds work without one.
  absl::Duration max_call_time = absl::Hours(1);
};

// The call's deadline on the engine's clock: at most max_call_time from
// `start`. gRPC's is a time of the wall clock, the engine's clock is monotonic;
// what is carried over is the time that remains.
absl::Time DeadlineOf(const FrontendContext& frontend, absl::Time start,
                      const grpc::CallbackServerContext& context);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_FRONTEND_CONTEXT_H_
