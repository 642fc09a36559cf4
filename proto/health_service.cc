#include "proto/health_service.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/alarm.h"

namespace headwise {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

}  // namespace

// Deletes itself. An alarm is set from the begin to the end, one for each
// period: its callback asks, writes what has changed and sets the next one.
// Finish waits for the callback and the write, so neither outlives this.
class HealthService::WatchStream final
    : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  WatchStream(HealthService& service, std::string name)
      : service_(service), name_(std::move(name)) {}

  // Once the service knows it.
  void Start() { OnAlarm(); }

  // Ends it with an error; nothing else has been called.
  void Refuse(const grpc::Status& status) { Finish(status); }

  // Asks now. The callback of an alarm that is cancelled comes at once.
  void Wake() {
    absl::MutexLock lock(&mutex_);
    if (alarm_ != nullptr) alarm_->Cancel();
  }

  void OnWriteDone(bool ok) override {
    Next next;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      over_ = over_ || !ok;
      next = DecideLocked(std::nullopt);
    }
    if (next.any()) Do(next);
  }

  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    over_ = true;
    if (alarm_ != nullptr) alarm_->Cancel();
  }

  void OnDone() override {
    service_.Forget(this);
    delete this;
  }

 private:
  // What is to be done once the lock is released; without one of the two,
  // another thread may have finished the call: `this` may be gone.
  struct Next {
    bool write = false;
    bool finish = false;
    bool any() const { return write || finish; }
  };

  void OnAlarm() {
    const bool closed = service_.closed();
    const Status now = service_.Ask(name_);
    Next next;
    {
      absl::MutexLock lock(&mutex_);
      alarm_.reset();
      over_ = over_ || closed;
      if (!over_) SetAlarmLocked();
      next = DecideLocked(now);
    }
    if (next.any()) Do(next);
  }

  // The callback comes from a thread of gRPC, never from within Set or Cancel.
  void SetAlarmLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(absl::ToChronoTime(absl::Now() + kWatchInterval),
                [this](bool) { OnAlarm(); });
  }

  Next DecideLocked(std::optional<Status> now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Next next;
    if (now.has_value()) unsaid_ = *now;
    if (writing_ || finished_) return next;
    if (unsaid_.has_value() && unsaid_ != said_) {
      said_ = unsaid_;
      response_.set_status(*said_);
      writing_ = next.write = true;
    } else if (over_ && alarm_ == nullptr) {
      finished_ = next.finish = true;
    }
    return next;
  }

  void Do(const Next& next) {
    if (next.write) StartWrite(&response_);
    if (next.finish) Finish(grpc::Status::OK);
  }

  HealthService& service_;
  const std::string name_;
  HealthCheckResponse response_;  // belongs to gRPC while writing_

  absl::Mutex mutex_;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  std::optional<Status> unsaid_ ABSL_GUARDED_BY(mutex_);  // newest
  std::optional<Status> said_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

HealthService::HealthService(std::map<std::string, Probe> probes)
    : probes_(std::move(probes)) {}

HealthService::Status HealthService::Ask(const std::string& service) const {
  const auto found = probes_.find(service);
  if (found == probes_.end()) return HealthCheckResponse::SERVICE_UNKNOWN;
  if (closed()) return HealthCheckResponse::NOT_SERVING;
  return found->second().ok() ? HealthCheckResponse::SERVING
                              : HealthCheckResponse::NOT_SERVING;
}

bool HealthService::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

grpc::ServerUnaryReactor* HealthService::Check(
    grpc::CallbackServerContext* context, const HealthCheckRequest* request,
    HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const Status status = Ask(request->service());
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(
        {grpc::StatusCode::NOT_FOUND,
         absl::StrCat("service: \"",
                      absl::Utf8SafeCEscape(request->service().substr(0, 64)),
                      "\" is not served here")});
    return reactor;
  }
  response->set_status(status);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext* context, const HealthCheckRequest* request) {
  auto* stream = new WatchStream(*this, request->service());
  bool taken = false;
  {
    absl::MutexLock lock(&mutex_);
    taken = watches_.size() < kMaxWatches;
    if (taken) watches_.insert(stream);
  }
  if (taken) {
    stream->Start();
  } else {
    stream->Refuse({grpc::StatusCode::RESOURCE_EXHAUSTED,
                    absl::StrCat(kMaxWatches, " watches of health are open")});
  }
  return stream;
}

void HealthService::Forget(WatchStream* stream) {
  absl::MutexLock lock(&mutex_);
  watches_.erase(stream);
}

void HealthService::Refresh() {
  absl::MutexLock lock(&mutex_);
  for (WatchStream* stream : watches_) stream->Wake();
}

void HealthService::Close() {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  Refresh();
}

}  // namespace headwise
