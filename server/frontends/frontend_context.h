// What every service of the coordinator works with, and how it begins and ends
// a call.

#ifndef HEADWISE_SERVER_FRONTENDS_FRONTEND_CONTEXT_H_
#define HEADWISE_SERVER_FRONTENDS_FRONTEND_CONTEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "grpcpp/server_context.h"
#include "server/frontends/head_map.h"
#include "server/frontends/model_digest.h"
#include "server/frontends/open_calls.h"
#include "server/frontends/plan_store.h"
#include "server/frontends/served_model.h"
#include "server/frontends/server_metrics.h"
#include "server/scheduler/engine.h"

namespace headwise {

// The references must outlive the services.
struct FrontendContext {
  Engine& engine;
  const ServedModel& model;
  const ClusterState& cluster;
  PlanStore& plans;
  ModelDigest& digest;
  ServerMetrics& metrics;
  OpenCalls& open_calls;
  const Clock& clock;
  // A client may set no deadline; the engine never holds work without one.
  absl::Duration max_call_time = absl::Hours(1);
};

// Of one call: for its log line and metrics.
struct Arrival {
  const char* api = "";  // "generate"; a literal
  std::string request_id;
  absl::Time time;
  // On the engine's clock: at most max_call_time from `time`. gRPC's is a time
  // of the wall clock, the engine's clock is monotonic; what is carried over is
  // the time that remains.
  absl::Time deadline;
  std::string tenant = {};  // as the caller says; empty if it says none
  std::string plan = {};    // first digits of its name; empty: of no plan
};

// To be called first in a method. The initial metadata will tell the client the
// call's x-request-id.
Arrival Arrive(const FrontendContext& frontend, const char* api,
               grpc::CallbackServerContext& context);

// Counts and logs a call that ends with `status`; to be called just before gRPC
// is told. `usage`: null if the engine did not work for it.
void EndCall(const FrontendContext& frontend, const Arrival& arrival,
             const absl::Status& status, const RequestUsage* usage = nullptr,
             int64_t scored_tokens = 0);

// Unavailable: what is refused while the server drains.
absl::Status DrainingError();

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_FRONTEND_CONTEXT_H_
