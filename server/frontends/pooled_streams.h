// The server's ends of calls that stream chunks in or blocks out, and whose
// work waits for workers: it runs on a pool, never on gRPC's threads.

#ifndef HEADWISE_SERVER_FRONTENDS_POOLED_STREAMS_H_
#define HEADWISE_SERVER_FRONTENDS_POOLED_STREAMS_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "grpcpp/support/server_callback.h"
#include "server/leases/task_pool.h"
#include "server/frontends/rich_status.h"

namespace headwise {

// Set when the client goes away. Shared with the work.
using CancelFlag = std::shared_ptr<std::atomic<bool>>;

// What a stream's work is. All run on the pool, one at a time.
template <typename Message>
struct InStreamWork {
  std::function<absl::Status(Message&)> on_message;
  // After the last message; not after an error.
  std::function<absl::Status()> on_end;
  // Last, with the status that the client gets: may count and log it.
  std::function<void(const absl::Status&)> on_finish;
};

// Reads one message at a time: the next one when its work is done. Owned by
// gRPC, deletes itself.
template <typename Message>
class InStream final : public grpc::ServerReadReactor<Message> {
 public:
  InStream(TaskPool& pool, CancelFlag cancelled, InStreamWork<Message> work)
      : pool_(pool), cancelled_(std::move(cancelled)), work_(std::move(work)) {
    this->StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    Submit([this, ok] {
      if (ok) {
        const absl::Status status = work_.on_message(message_);
        message_.Clear();
        if (!status.ok()) return End(status);
        this->StartRead(&message_);
        return;
      }
      End(*cancelled_ ? absl::CancelledError("the client has left")
                      : work_.on_end());
    });
  }
  void OnCancel() override { *cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  ~InStream() override = default;

  void Submit(std::function<void()> task) {
    const absl::Status submitted = pool_.Submit(std::move(task));
    if (!submitted.ok()) End(submitted);
  }
  void End(const absl::Status& status) {
    work_.on_finish(status);
    work_ = {};  // on this thread, since it may wait for workers
    this->Finish(ToGrpcStatus(status));
  }

  TaskPool& pool_;
  const CancelFlag cancelled_;
  InStreamWork<Message> work_;
  Message message_;
};

template <typename Message>
struct OutStreamWork {
  // The next message; nullopt after the last one.
  std::function<absl::StatusOr<std::optional<Message>>()> next;
  std::function<void(const absl::Status&)> on_finish;
};

// Makes one message at a time: the next one when gRPC has taken the last. Owned
// by gRPC, deletes itself.
template <typename Message>
class OutStream final : public grpc::ServerWriteReactor<Message> {
 public:
  OutStream(TaskPool& pool, CancelFlag cancelled, OutStreamWork<Message> work)
      : pool_(pool), cancelled_(std::move(cancelled)), work_(std::move(work)) {
    Continue();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) *cancelled_ = true;
    Continue();
  }
  void OnCancel() override { *cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  ~OutStream() override = default;

  void Continue() {
    const absl::Status submitted = pool_.Submit([this] {
      if (*cancelled_) return End(absl::CancelledError("the client has left"));
      absl::StatusOr<std::optional<Message>> message = work_.next();
      if (!message.ok() || !message->has_value()) {
        return End(message.status());
      }
      message_ = **std::move(message);
      this->StartWrite(&message_);
    });
    if (!submitted.ok()) End(submitted);
  }
  void End(const absl::Status& status) {
    work_.on_finish(status);
    work_ = {};
    this->Finish(ToGrpcStatus(status));
  }

  TaskPool& pool_;
  const CancelFlag cancelled_;
  OutStreamWork<Message> work_;
  Message message_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_POOLED_STREAMS_H_
