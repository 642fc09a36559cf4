#include "server/dispatch/registry_service.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "server/dispatch/worker_info.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

constexpr size_t kMaxRefusals = 64;  // texts of at most a few hundred bytes

}  // namespace

// One worker's stream; deletes itself. Reactions to reads and writes come one
// at a time (a read is started only after the write that answers the last one),
// so only OnCancel needs the lock.
class RegistryService::Registration final
    : public grpc::ServerBidiReactor<worker::v1::RegisterRequest,
                                     worker::v1::RegisterResponse> {
 public:
  Registration(RegistryService& service, grpc::CallbackServerContext* context)
      : service_(service), context_(context), membership_(service.membership_) {
    const absl::Status opened = service_.Open(context_);
    if (!opened.ok()) {
      service_.SayRefused(opened);
      End(opened);
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
  absl::StatusOr<uint64_t> Take(const MemberInfo& info) {
    const absl::Status is_whole = CheckChecksum(request_.info());
    // Builds before there were protocols have none, and are refused for that.
    if (!is_whole.ok() && info.build.protocols.newest > 0) {
      return absl::DataLossError(is_whole.message());
    }
    HEADWISE_RETURN_IF_ERROR(service_.options_.security.CheckIsServerAt(
        info.address, *context_->auth_context()));
    return membership_.Register(info);
  }

  void Enroll() {
    if (!request_.has_info()) {
      Refuse(absl::InvalidArgumentError("the first message must have `info`"));
      return;
    }
    service_.NoteSpoken(context_);
    const MemberInfo info = ParseWorkerInfo(request_.info());
    const absl::StatusOr<uint64_t> id = Take(info);
    if (!id.ok()) {
      Refuse(id.status());
      return;
    }
    service_.SayCome(info);
    bool cancelled = false;
    {
      absl::MutexLock lock(&mutex_);
      id_ = *id;
      name_ = info.name;
      cancelled = cancelled_;
    }
    if (cancelled) Leave();
    response_.set_accepted(true);
    StartWrite(&response_);
  }

  // Says why, then ends.
  void Refuse(const absl::Status& status) {
    Leave();
    service_.SayRefused(status);
    refusal_ = status;
    response_.set_accepted(false);
    response_.set_reason(std::string(status.message()));
    StartWrite(&response_);
  }

  void Leave() {
    std::optional<uint64_t> id;
    std::string name;
    {
      absl::MutexLock lock(&mutex_);
      cancelled_ = true;
      id = id_;
      name = name_;
    }
    // No effect if a newer worker of the name has replaced it.
    if (id.has_value() && membership_.Remove(*id)) service_.SayLeft(name);
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
  // Written under the lock, by reactions to reads.
  std::optional<uint64_t> id_;
  std::string name_;
};

grpc::ServerBidiReactor<worker::v1::RegisterRequest,
                        worker::v1::RegisterResponse>*
RegistryService::Register(grpc::CallbackServerContext* context) {
  return new Registration(*this, context);
}

RegistryService::RegistryService(const RegistryServiceOptions& options,
                                 Membership& membership)
    : options_(options), membership_(membership) {}

absl::Status RegistryService::Open(grpc::CallbackServerContext* context) {
  absl::MutexLock lock(&mutex_);
  if (closed_) {
    return absl::UnavailableError("the coordinator is shutting down");
  }
  const absl::Time now = Clock::Monotonic().Now();
  for (const auto& [other, stream] : streams_) {
    if (!stream.has_spoken &&
        now - stream.opened_at > options_.first_message_timeout) {
      other->TryCancel();  // only posts
    }
  }
  if (streams_.size() >= options_.max_streams) {
    return absl::ResourceExhaustedError(
        absl::StrCat(streams_.size(), " streams of workers are open, limit ",
                     options_.max_streams));
  }
  streams_[context].opened_at = now;
  return absl::OkStatus();
}

void RegistryService::NoteSpoken(grpc::CallbackServerContext* context) {
  absl::MutexLock lock(&mutex_);
  streams_[context].has_spoken = true;
}

void RegistryService::Forget(grpc::CallbackServerContext* context) {
  absl::MutexLock lock(&mutex_);
  streams_.erase(context);
}

size_t RegistryService::num_streams() const {
  absl::MutexLock lock(&mutex_);
  return streams_.size();
}

void RegistryService::SayCome(const MemberInfo& info) {
  {
    absl::MutexLock lock(&mutex_);
    refusals_.clear();
  }
  if (!options_.log) return;
  options_.log(absl::StrCat("worker ", info.name, " has come from ",
                            absl::CHexEscape(info.address), ", speed ",
                            info.speed, ", ", TextOf(info.build)));
}

void RegistryService::SayRefused(const absl::Status& status) {
  if (!options_.log) return;
  // It may quote what a worker sent.
  const std::string reason = absl::CHexEscape(status.ToString());
  {
    absl::MutexLock lock(&mutex_);
    if (refusals_.size() >= kMaxRefusals) refusals_.clear();
    if (!refusals_.insert(reason).second) return;
  }
  options_.log(absl::StrCat("refused a worker: ", reason));
}

void RegistryService::SayLeft(const std::string& name) const {
  if (options_.log) options_.log(absl::StrCat("worker ", name, " has left"));
}

void RegistryService::Close() {
  // Under the lock, so that no context ends meanwhile; TryCancel only posts.
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (const auto& [context, stream] : streams_) context->TryCancel();
}

}  // namespace headwise
