// The coordinator's public face: gRPC services, health, reflection, metrics.

#ifndef HEADWISE_SERVER_FRONTENDS_SERVER_FRONTENDS_H_
#define HEADWISE_SERVER_FRONTENDS_SERVER_FRONTENDS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "grpcpp/channel.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "model/head_plan/head_plan.h"
#include "proto/transport_security.h"
#include "server/attention/attention_sessions.h"
#include "server/books/coordinator_books.h"
#include "server/frontends/head_map.h"
#include "server/frontends/selection_folders.h"
#include "server/frontends/served_model.h"
#include "server/frontends/step_observer.h"
#include "server/neural_memory/neural_memories.h"
#include "server/placement/planner.h"
#include "server/scheduler/engine.h"

namespace headwise {

// Grace of a Shutdown that follows Drain: for bytes that are on their way to
// clients when the last request has ended.
inline constexpr absl::Duration kFlushTime = absl::Seconds(1);

// The name of grpc.health.v1 that is SERVING where this coordinator leads and
// is well, whether or not a group stands: clients that know several go there.
inline constexpr char kLeaderHealth[] = "leader";

struct ServerFrontendsOptions {
  // host:port; port 0: any free one. Empty: no socket, only InProcessChannel.
  std::string listen_address = "127.0.0.1:0";
  TransportSecurity security;  // of that port, health and reflection included
  // host:port of the HTTP server for /metrics and /healthz; empty: none.
  std::string metrics_address = "127.0.0.1:0";

  std::string model_name;  // what requests call it; 1 to 128 bytes
  std::string kv_type = "fp16";
  ModelShape shape;  // of the model with that kv_type; for PlanPlacement
  // Of requests that name no plan; null: every unit full. Create reads the
  // model's file once for it, unless model_sha256 is known.
  std::shared_ptr<const HeadPlan> default_plan;
  std::string model_sha256;  // empty: computed when it is first needed

  absl::Duration max_call_time = absl::Hours(1);
  int max_request_bytes = 16 << 20;   // of one message; also caps a prompt
  int max_concurrent_streams = 1024;  // of one connection
  // Of selection jobs; without them the calls about jobs are refused.
  SelectionFolders selection;
  // Tokens of an upload that run while others come (upload_stream.h).
  int64_t upload_run_tokens = 16 << 10;
};

// What must outlive the frontends.
struct ServerFrontendsDeps {
  Engine& engine;
  const Model& model;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template = nullptr;  // null: Chat is refused
  const ClusterState& cluster;
  const Clock& clock = Clock::Monotonic();
  AttentionSessions* attention = nullptr;  // null: Attention is not served
  NeuralMemories* memories = nullptr;      // null: nor is NeuralMemory
  CoordinatorBooks* books = nullptr;  // null: prompt sessions end with them
  // Whether this coordinator leads, or why not: health of kLeaderHealth; empty:
  // it is the only one.
  std::function<absl::Status()> leads;
  // Served on the same port as well: the registry of workers.
  std::vector<grpc::Service*> extra_services = {};
};

// Thread-safe.
class ServerFrontends {
 public:
  // Serves from the return on. InvalidArgument names a bad option; Unavailable
  // an address that can't be bound; errors of SelectionJobs::Open.
  static absl::StatusOr<std::unique_ptr<ServerFrontends>> Create(
      const ServerFrontendsOptions& options, const ServerFrontendsDeps& deps);
  // As Shutdown(absl::ZeroDuration()).
  virtual ~ServerFrontends() = default;

  virtual int port() const = 0;          // 0: none
  virtual int metrics_port() const = 0;  // 0: none

  // A channel to these services without a socket.
  virtual std::shared_ptr<grpc::Channel> InProcessChannel() = 0;

  // To be called after ClusterState::ready() has changed, so that who watches
  // health hears of it at once. Health itself is asked, not told: that of every
  // service and of the model's name is ServerHealth::Ready, that of "" is
  // ServerHealth::Serving.
  virtual void UpdateReadiness() = 0;

  // The cluster tells it of every step.
  virtual StepObserver& step_observer() = 0;

  // To be called while the cluster still works. Health is NOT_SERVING,
  // selection jobs stop where they are, and new work gets Unavailable at once;
  // calls under way may end by themselves for `grace`, those that outlast it
  // end with Unavailable. Returns when the engine speaks of none any more, at
  // the latest after `grace`.
  virtual void Drain(absl::Duration grace) = 0;

  // Health is NOT_SERVING and new calls are refused at once. What Drain has
  // left, or calls that have only their last bytes to send, may go on for
  // `grace`, then they are cancelled. Returns when none is left and the engine
  // speaks of none any more. Further calls have no effect.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SERVER_FRONTENDS_H_
