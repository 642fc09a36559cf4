#include "server/dispatch/registry_service.h"

#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/dispatch/dispatch_wire.h"

namespace headwise {

// One worker's stream; deletes itself. Reactions to reads and writes come one
// at a time (a read is started only after the write that answers the last one),
// so only OnCancel needs the lock.
class RegistryService::Registration final
    : public grpc::ServerBidiReactor<worker::v1::RegisterRequest,
                                     worker::v1::RegisterResponse> {
 public:
  Registration(RegistryService& service, grpc::CallbackServerContext* context)
      : service_(service), context_(context), membership_(service.membership_) {
    if (!service_.Open(context_)) {
      End(absl::UnavailableError("the coordinator is shutting down"));
      return;
    }
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Leave();
      End(absl::OkStatus());
      return;
    }
    if (!id_.has_value()) {
      Enroll();
      return;
    }
    const absl::Status status = membership_.Heartbeat(*id_);
    if (status.ok()) {
      StartRead(&request_);
      return;
    }
    // NotFound would read as "no such method"; the worker is to come again.
    Refuse(absl::IsNotFound(status) ? absl::UnavailableError(status.message())
                                    : status);
  }

  void OnWriteDone(bool ok) override {
    if (!refusal_.ok()) {
      End(refusal_);
    } else {
      StartRead(&request_);
    }
  }

  // The stream broke: the worker, or the way to it, is gone.
  void OnCancel() override { Leave(); }

  void OnDone() override {
    service_.Forget(context_);
    delete this;
  }

 private:
  void Enroll() {
    if (!request_.has_info()) {
      Refuse(absl::InvalidArgumentError("the first message must have `info`"));
      return;
    }
    const absl::StatusOr<uint64_t> id =
        membership_.Register(ParseWorkerInfo(request_.info()));
    if (!id.ok()) {
      Refuse(id.status());
      return;
    }
    bool cancelled = false;
    {
      absl::MutexLock lock(&mutex_);
      id_ = *id;
      cancelled = cancelled_;
    }
    if (cancelled) membership_.Remove(*id);
    response_.set_accepted(true);
    StartWrite(&response_);
  }

  // Says why, then ends.
  void Refuse(const absl::Status& status) {
    Leave();
    refusal_ = status;
    response_.set_accepted(false);
    response_.set_reason(std::string(status.message()));
    StartWrite(&response_);
  }

  void Leave() {
    std::optional<uint64_t> id;
    {
      absl::MutexLock lock(&mutex_);
      cancelled_ = true;
      id = id_;
    }
    // No effect if a newer worker of the name has replaced it.
    if (id.has_value()) membership_.Remove(*id);
  }

  void End(const absl::Status& status) {
    Finish(grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                        std::string(status.message())));
  }

  RegistryService& service_;
  grpc::CallbackServerContext* const context_;
  Membership& membership_;
  worker::v1::RegisterRequest request_;
  worker::v1::RegisterResponse response_;
  absl::Status refusal_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<uint64_t> id_;  // written under the lock, by reactions to reads
};

std::string CoordinatorVersion() { return HEADWISE_BUILD_VERSION; }

grpc::ServerBidiReactor<worker::v1::RegisterRequest,
                        worker::v1::RegisterResponse>*
RegistryService::Register(grpc::CallbackServerContext* context) {
  return new Registration(*this, context);
}

bool RegistryService::Open(grpc::CallbackServerContext* context) {
  absl::MutexLock lock(&mutex_);
  if (!closed_) contexts_.insert(context);
  return !closed_;
}

void RegistryService::Forget(grpc::CallbackServerContext* context) {
  absl::MutexLock lock(&mutex_);
  contexts_.erase(context);
}

void RegistryService::Close() {
  // Under the lock, so that no context ends meanwhile; TryCancel only posts.
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (grpc::CallbackServerContext* context : contexts_) context->TryCancel();
}

}  // namespace headwise
