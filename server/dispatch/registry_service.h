// worker.v1.Registry: workers that announce themselves enter the book.

#ifndef HEADWISE_SERVER_DISPATCH_REGISTRY_SERVICE_H_
#define HEADWISE_SERVER_DISPATCH_REGISTRY_SERVICE_H_

#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "proto/transport_security.h"
#include "server/membership/membership.h"

namespace headwise {

struct RegistryServiceOptions {
  // Streams that may be open at once: some for each of a full book's members,
  // as an old stream of a worker may take a while to break.
  size_t max_streams = 256;
  // A stream that has not said within this time who it is ends when the next
  // one opens.
  absl::Duration first_message_timeout = absl::Seconds(5);
  // A worker whose certificate is for another host than the one where it says
  // that it serves is refused.
  TransportSecurity security;
  // Hears who comes, is refused (once per reason) and leaves; must not block.
  std::function<void(const std::string&)> log;
};

// The end of a worker's stream removes it at once; a worker that is silent on
// an open stream is removed by the book's own limit.
class RegistryService final : public worker::v1::Registry::CallbackService {
 public:
  // `membership` must outlive the server that the service belongs to.
  RegistryService(const RegistryServiceOptions& options,
                  Membership& membership);

  grpc::ServerBidiReactor<worker::v1::RegisterRequest,
                          worker::v1::RegisterResponse>*
  Register(grpc::CallbackServerContext* context) override;

  // Ends all streams and takes no new one: they would last as long as their
  // workers, and a server that shuts down waits for its calls.
  void Close();

  size_t num_streams() const;

 private:
  class Registration;

  struct Stream {
    absl::Time opened_at;
    bool has_spoken = false;
  };

  // Unavailable once closed, ResourceExhausted beyond max_streams.
  absl::Status Open(grpc::CallbackServerContext* context);
  void NoteSpoken(grpc::CallbackServerContext* context);
  void Forget(grpc::CallbackServerContext* context);
  void SayCome(const MemberInfo& info);
  void SayRefused(const absl::Status& status);
  void SayLeft(const std::string& name) const;

  const RegistryServiceOptions options_;
  Membership& membership_;
  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // That are open; each context lives until Forget.
  std::map<grpc::CallbackServerContext*, Stream> streams_
      ABSL_GUARDED_BY(mutex_);
  // Reasons that were logged since somebody was taken: workers come again and
  // again. At most kMaxRefusals.
  std::set<std::string> refusals_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_REGISTRY_SERVICE_H_
