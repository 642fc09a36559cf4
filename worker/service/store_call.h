// How the gRPC edge of a store answers.

#ifndef HEADWISE_WORKER_SERVICE_STORE_CALL_H_
#define HEADWISE_WORKER_SERVICE_STORE_CALL_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "worker/leases/store_node.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {

// Runs `call` on the node's thread and finishes with its status. gRPC keeps
// request and response until then.
template <typename Store>
grpc::ServerUnaryReactor* AnswerFrom(StoreNode<Store>& node,
                                     grpc::CallbackServerContext* context,
                                     std::function<absl::Status(Store&)> call) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status submitted =
      node.Submit([reactor, call = std::move(call)](Store& store) {
        reactor->Finish(StatusToWire(call(store)));
      });
  if (!submitted.ok()) reactor->Finish(StatusToWire(submitted));
  return reactor;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_STORE_CALL_H_
