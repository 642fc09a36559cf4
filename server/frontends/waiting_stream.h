// The server's end of a stream of messages, for a writer that may wait.

#ifndef HEADWISE_SERVER_FRONTENDS_WAITING_STREAM_H_
#define HEADWISE_SERVER_FRONTENDS_WAITING_STREAM_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "server/frontends/cancel_hook.h"
#include "server/frontends/rich_status.h"

namespace headwise {

// gRPC owns one reference until OnDone, so the writer may outlive the call.
template <typename Message>
class WaitingStream final : public grpc::ServerWriteReactor<Message> {
 public:
  static std::shared_ptr<WaitingStream> Create() {
    std::shared_ptr<WaitingStream> stream(new WaitingStream());
    stream->self_ = stream;
    return stream;
  }

  // Calls `cancel` once when the client goes away; at once if it has already.
  void SetCancel(std::function<void()> cancel) {
    cancel_.Set(std::move(cancel));
  }

  // For one thread: waits until the message before it is on its way. False if
  // the client is gone.
  bool Write(Message message) {
    if (!Flush()) return false;
    in_flight_ = std::move(message);
    {
      absl::MutexLock lock(&mutex_);
      writing_ = true;
    }
    this->StartWrite(&in_flight_);
    return true;
  }

  // Waits until what was written is on its way. False if the client is gone.
  bool Flush() {
    absl::MutexLock lock(&mutex_);
    const auto written = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return !writing_;
    };
    // gRPC ends the write of a client that has gone.
    mutex_.Await(absl::Condition(&written));
    return !broken_;
  }

  // Sends `status` after what was written. To be called once, by the thread
  // that writes, or instead of it.
  void Close(const absl::Status& status) {
    Flush();
    this->Finish(ToGrpcStatus(status));
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      broken_ |= !ok;
    }
    if (!ok) cancel_.Fire();
  }
  void OnCancel() override { cancel_.Fire(); }
  void OnDone() override {
    const std::shared_ptr<WaitingStream> last = std::move(self_);
  }

 private:
  WaitingStream() = default;

  CancelHook cancel_;
  std::shared_ptr<WaitingStream> self_;  // until OnDone
  Message in_flight_;  // gRPC's between StartWrite and OnWriteDone

  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_WAITING_STREAM_H_
