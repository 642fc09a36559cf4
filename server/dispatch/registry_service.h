// worker.v1.Registry: workers that announce themselves enter the book.

#ifndef HEADWISE_SERVER_DISPATCH_REGISTRY_SERVICE_H_
#define HEADWISE_SERVER_DISPATCH_REGISTRY_SERVICE_H_

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "server/membership/membership.h"

namespace headwise {

// This build's version, as compared between coordinator and worker.
std::string CoordinatorVersion();

// The end of a worker's stream removes it at once; a worker that is silent on
// an open stream is removed by the book's own limit.
class RegistryService final : public worker::v1::Registry::CallbackService {
 public:
  // `membership` must outlive the server that the service belongs to.
  explicit RegistryService(Membership& membership) : membership_(membership) {}

  grpc::ServerBidiReactor<worker::v1::RegisterRequest,
                          worker::v1::RegisterResponse>*
  Register(grpc::CallbackServerContext* context) override;

  // Ends all streams and takes no new one: they would last as long as their
  // workers, and a server that shuts down waits for its calls.
  void Close();

 private:
  class Registration;

  bool Open(grpc::CallbackServerContext* context);
  void Forget(grpc::CallbackServerContext* context);

  Membership& membership_;
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the streams that are open; each lives until Forget.
  std::set<grpc::CallbackServerContext*> contexts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_REGISTRY_SERVICE_H_
