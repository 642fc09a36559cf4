// The server's end of a call with one answer that hears of a client's leaving.

#ifndef HEADWISE_SERVER_FRONTENDS_UNARY_CALL_H_
#define HEADWISE_SERVER_FRONTENDS_UNARY_CALL_H_

#include <functional>
#include <memory>
#include <utility>

#include "grpcpp/support/server_callback.h"
#include "server/frontends/cancel_hook.h"

namespace headwise {

// Owned by gRPC: deletes itself after Finish, and never before the method that
// created it has returned. Other threads must not touch it once Finish may have
// been called.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Calls `cancel` once when the client goes away; at once if it has already.
  void SetCancel(std::function<void()> cancel) {
    cancel_->Set(std::move(cancel));
  }
  // The same for threads that this object may not live for.
  std::shared_ptr<CancelHook> cancel_hook() { return cancel_; }
  void OnCancel() override { cancel_->Fire(); }
  void OnDone() override { delete this; }

 private:
  ~UnaryCall() override = default;
  const std::shared_ptr<CancelHook> cancel_ = std::make_shared<CancelHook>();
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_UNARY_CALL_H_
