// WorkerLink over gRPC.

#ifndef HEADWISE_SERVER_DISPATCH_GRPC_WORKER_LINK_H_
#define HEADWISE_SERVER_DISPATCH_GRPC_WORKER_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "proto/transport_security.h"
#include "server/dispatch/worker_link.h"

namespace headwise {

// A channel to a worker: message limits, and HTTP/2 pings that find a peer that
// has vanished without a word within 4 s.
std::shared_ptr<grpc::Channel> MakeWorkerChannel(
    const std::string& address, const TransportSecurity& security);

// Keeps one channel. A Prepare in progress is cancelled by a newer one and by
// the destructor; Probe and Join end within their timeouts. Callbacks come in
// any case, perhaps after the destructor.
class GrpcWorkerLink final : public WorkerLink {
 public:
  explicit GrpcWorkerLink(std::shared_ptr<grpc::Channel> channel);
  ~GrpcWorkerLink() override;

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
  class StepStream;

  const std::shared_ptr<worker::v1::Worker::Stub> stub_;
  void CancelPrepare(std::shared_ptr<grpc::ClientContext> next);

  absl::Mutex mutex_;
  std::shared_ptr<StepStream> stream_ ABSL_GUARDED_BY(mutex_);
  // Of the last Prepare, also when that is over.
  std::shared_ptr<grpc::ClientContext> preparing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_GRPC_WORKER_LINK_H_
