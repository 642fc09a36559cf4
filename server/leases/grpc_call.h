// One call of a link over gRPC.

#ifndef HEADWISE_SERVER_LEASES_GRPC_CALL_H_
#define HEADWISE_SERVER_LEASES_GRPC_CALL_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "server/leases/done.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {

// Owns itself until its callback has run, and keeps the stub as long: callbacks
// come in any case, perhaps after the link's end. Fill `request`, then Start.
template <typename Service, typename Request, typename Response>
class GrpcCall {
 public:
  using Stub = typename Service::Stub;
  using Async = typename Service::StubInterface::async_interface;
  // The overload of a method of the async stub that takes a callback.
  using Method = void (Async::*)(grpc::ClientContext*, const Request*,
                                 Response*, std::function<void(grpc::Status)>);

  GrpcCall(std::shared_ptr<Stub> stub, absl::Duration timeout)
      : call_(std::make_shared<State>()) {
    call_->stub = std::move(stub);
    call_->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }

  Request& request() { return call_->request; }

  // Starts `method`; `read` makes the answer of the response. To be called
  // once. Unavailable if the request or the response changed on its way: it may
  // be asked again.
  template <typename T>
  void Start(Method method, Done<T> done,
             std::function<absl::StatusOr<T>(Response&)> read) {
    auto* async = call_->stub->async();
    State& state = *call_;
    WriteChecksum(&state.request);
    (async->*method)(&state.context, &state.request, &state.response,
                     [call = std::move(call_), done = std::move(done),
                      read = std::move(read)](const grpc::Status& status) {
                       const absl::Status said = call->Check(status);
                       if (said.ok()) {
                         done(read(call->response));
                       } else {
                         done(said);
                       }
                     });
  }
  void StartForNothing(Method method, Done<Nothing> done) {
    Start<Nothing>(method, std::move(done),
                   [](Response&) { return Nothing{}; });
  }

 private:
  struct State {
    absl::Status Check(const grpc::Status& status) const {
      absl::Status said = StatusFromWire(status);
      if (said.ok()) said = CheckChecksum(response, request.crc32c());
      if (!IsChangedOnItsWay(said)) return said;
      return absl::UnavailableError(said.message());
    }
    std::shared_ptr<Stub> stub;
    grpc::ClientContext context;
    Request request;
    Response response;
  };
  std::shared_ptr<State> call_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_GRPC_CALL_H_
