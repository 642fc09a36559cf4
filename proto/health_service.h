// grpc.health.v1, answered from what is true when it is asked.

#ifndef HEADWISE_PROTO_HEALTH_SERVICE_H_
#define HEADWISE_PROTO_HEALTH_SERVICE_H_

#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace headwise {

// gRPC's own service is told of changes by a thread of the server, so it goes
// on saying SERVING once that thread is frozen. This one keeps nothing: Check
// asks the probe, Watch asks it again every kWatchInterval from a timer of
// gRPC.
//
// Thread-safe.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // OK: SERVING. Called by gRPC's threads, several at once; must not block.
  using Probe = std::function<absl::Status()>;

  static constexpr absl::Duration kWatchInterval = absl::Milliseconds(250);
  // Clients that know several coordinators hold one each.
  static constexpr int kMaxWatches = 1024;

  // By name of service.
  explicit HealthService(std::map<std::string, Probe> probes);
  // Requires that the server has shut down.
  ~HealthService() override = default;

  grpc::ServerUnaryReactor* Check(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request,
      grpc::health::v1::HealthCheckResponse* response) override;
  // ResourceExhausted above kMaxWatches.
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

  // Watches ask now: something has changed.
  void Refresh();
  // For good: all is NOT_SERVING, which watches say before they end. A server
  // that shuts down waits for its calls.
  void Close();

 private:
  class WatchStream;
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  Status Ask(const std::string& service) const;
  bool closed() const;
  void Forget(WatchStream* stream);

  const std::map<std::string, Probe> probes_;
  mutable absl::Mutex mutex_;
  std::set<WatchStream*> watches_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_PROTO_HEALTH_SERVICE_H_
