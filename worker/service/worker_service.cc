#include "worker/service/worker_service.h"

#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "worker/service/run_stream.h"
#include "worker/service/worker_wire.h"

namespace headwise {
namespace {

// Must be what the coordinator sends with Run.
constexpr char kEpochMetadata[] = "headwise-membership-epoch";

// Streams the progress of one Prepare; deletes itself. Only the newest progress
// waits to be written, so a slow reader costs nothing. gRPC calls OnDone only
// after Finish, and Finish waits for the node's answer, so the callbacks below
// never outlive it.
class PrepareStream final
    : public grpc::ServerWriteReactor<worker::v1::PrepareResponse> {
 public:
  PrepareStream(WorkerNode& node, const worker::v1::PrepareRequest& request) {
    absl::StatusOr<WorkerConfig> config = ParsePrepare(request);
    if (!config.ok()) {
      Finish(ToGrpcStatus(config.status()));
      return;
    }
    const absl::Status started = node.Prepare(
        *std::move(config), [this](double value) { OnProgress(value); },
        [this](absl::StatusOr<PreparedShard> prepared) {
          OnPrepared(std::move(prepared));
        });
    if (!started.ok()) Finish(ToGrpcStatus(started));
  }

  void OnWriteDone(bool ok) override {
    Next next;
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      broken_ = broken_ || !ok;
      next = DecideLocked();
    }
    Do(next);
  }

  void OnDone() override { delete this; }

 private:
  // What is to be done once the lock is released. Without one of the two,
  // another thread may have finished the call: nothing of ours may be touched.
  struct Next {
    bool write = false;
    bool finish = false;
    absl::Status status;
  };

  void OnProgress(double value) {
    Next next;
    {
      absl::MutexLock lock(&mutex_);
      // Finer steps than one in a hundred tell nobody anything.
      if (value < progress_ + 0.01) return;
      progress_ = value;
      has_news_ = true;
      next = DecideLocked();
    }
    Do(next);
  }

  void OnPrepared(absl::StatusOr<PreparedShard> prepared) {
    Next next;
    {
      absl::MutexLock lock(&mutex_);
      answered_ = true;
      status_ = prepared.status();
      has_news_ = prepared.ok();
      if (prepared.ok()) prepared_ = *std::move(prepared);
      next = DecideLocked();
    }
    Do(next);
  }

  Next DecideLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Next next;
    if (writing_ || finished_) return next;
    if (has_news_ && !broken_) {
      response_.Clear();
      response_.set_progress(progress_);
      if (answered_) WritePrepared(prepared_, &response_);
      has_news_ = false;
      writing_ = next.write = true;
    } else if (answered_) {
      finished_ = next.finish = true;
      next.status = status_;
    }
    return next;
  }

  void Do(const Next& next) {
    if (next.write) StartWrite(&response_);
    if (next.finish) Finish(ToGrpcStatus(next.status));
  }

  worker::v1::PrepareResponse response_;  // belongs to gRPC while writing_

  absl::Mutex mutex_;
  double progress_ ABSL_GUARDED_BY(mutex_) = -1.0;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;  // something to write
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  PreparedShard prepared_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<uint64_t> EpochOf(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kEpochMetadata);
  uint64_t epoch = 0;
  if (found == metadata.end() ||
      !absl::SimpleAtoi(
          absl::string_view(found->second.data(), found->second.size()),
          &epoch)) {
    return absl::InvalidArgumentError(
        absl::StrCat("Run needs metadata ", kEpochMetadata));
  }
  return epoch;
}

// A Run that ends before it begins.
class RefusedRun final
    : public grpc::ServerBidiReactor<worker::v1::StepRequest,
                                     worker::v1::StepResponse> {
 public:
  explicit RefusedRun(const absl::Status& status) {
    Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

}  // namespace

WorkerService::WorkerService(WorkerNode& node,
                             std::function<worker::v1::WorkerInfo()> info)
    : node_(node), info_(std::move(info)) {}

grpc::ServerUnaryReactor* WorkerService::GetInfo(
    grpc::CallbackServerContext* context,
    const worker::v1::GetInfoRequest* request,
    worker::v1::WorkerInfo* response) {
  *response = info_();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<worker::v1::PrepareResponse>* WorkerService::Prepare(
    grpc::CallbackServerContext* context,
    const worker::v1::PrepareRequest* request) {
  return new PrepareStream(node_, *request);
}

grpc::ServerUnaryReactor* WorkerService::Join(
    grpc::CallbackServerContext* context,
    const worker::v1::JoinRequest* request,
    worker::v1::JoinResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<std::vector<std::string>> endpoints = ParseEndpoints(*request);
  absl::Status started = endpoints.status();
  if (started.ok()) {
    started = node_.Join(request->membership_epoch(), *std::move(endpoints),
                         [reactor](absl::Status status) {
                           reactor->Finish(ToGrpcStatus(status));
                         });
  }
  if (!started.ok()) reactor->Finish(ToGrpcStatus(started));
  return reactor;
}

grpc::ServerBidiReactor<worker::v1::StepRequest, worker::v1::StepResponse>*
WorkerService::Run(grpc::CallbackServerContext* context) {
  const absl::StatusOr<uint64_t> epoch = EpochOf(*context);
  if (!epoch.ok()) return new RefusedRun(epoch.status());
  const absl::Status claimed = node_.ClaimSteps(*epoch);
  if (!claimed.ok()) return new RefusedRun(claimed);
  return new RunStream(node_, *epoch);
}

}  // namespace headwise
