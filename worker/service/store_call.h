// How the gRPC edge of a store answers.

#ifndef HEADWISE_WORKER_SERVICE_STORE_CALL_H_
#define HEADWISE_WORKER_SERVICE_STORE_CALL_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "worker/leases/store_node.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {

// Runs `call` on the node's thread and finishes with its status. gRPC keeps
// request and response until then. A request that has changed on its way is
// DataLoss and has no effect; the answer is bound to its request.
template <typename Store, typename Request, typename Response>
grpc::ServerUnaryReactor* AnswerFrom(StoreNode<Store>& node,
                                     grpc::CallbackServerContext* context,
                                     const Request* request, Response* response,
                                     std::function<absl::Status(Store&)> call) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status is_whole = CheckChecksum(*request);
  if (!is_whole.ok()) {
    reactor->Finish(StatusToWire(absl::DataLossError(is_whole.message())));
    return reactor;
  }
  const absl::Status submitted = node.Submit(
      [reactor, request, response, call = std::move(call)](Store& store) {
        const absl::Status status = call(store);
        if (status.ok()) WriteChecksum(response, request->crc32c());
        reactor->Finish(StatusToWire(status));
      });
  if (!submitted.ok()) reactor->Finish(StatusToWire(submitted));
  return reactor;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_STORE_CALL_H_
