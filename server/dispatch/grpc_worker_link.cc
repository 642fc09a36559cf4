#include "server/dispatch/grpc_worker_link.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/prepare_wire.h"
#include "worker/step_wire/rpc_limits.h"
#include "worker/step_wire/step_wire.h"

namespace headwise {
namespace {

// What a worker may send ahead of what was read, of one call.
constexpr int kLookaheadBytes = 4 << 20;

// A unary call owns itself until its callback has run.
template <typename Request, typename Response>
struct UnaryCall {
  grpc::ClientContext context;
  Request request;
  Response response;
};

// Reads the progress of Prepare; deletes itself.
class PrepareCall final
    : public grpc::ClientReadReactor<worker::v1::PrepareResponse> {
 public:
  PrepareCall(const WorkerConfig& config, absl::Duration timeout,
              std::function<void(double)> progress,
              std::function<void(absl::StatusOr<PreparedShard>)> done)
      : progress_(std::move(progress)), done_(std::move(done)) {
    WritePrepare(config, &request_);
    context_->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  }

  std::shared_ptr<grpc::ClientContext> context() const { return context_; }

  // `stub` is kept until the call is over.
  void Start(std::shared_ptr<worker::v1::Worker::Stub> stub) {
    stub_ = std::move(stub);
    stub_->async()->Prepare(context_.get(), &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (response_.has_prepared()) {
      prepared_ = ParsePrepared(response_.prepared());
      const absl::Status is_whole = CheckChecksum(response_);
      if (!is_whole.ok()) prepared_ = is_whole;
    } else if (progress_) {
      progress_(std::clamp(response_.progress(), 0.0, 1.0));
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    if (status.ok()) {
      done_(std::move(prepared_));
    } else {
      done_(StatusFromWire(status));
    }
    delete this;
  }

 private:
  std::shared_ptr<worker::v1::Worker::Stub> stub_;
  // Shared with the link, which may cancel the call.
  const std::shared_ptr<grpc::ClientContext> context_ =
      std::make_shared<grpc::ClientContext>();
  worker::v1::PrepareRequest request_;
  worker::v1::PrepareResponse response_;
  std::function<void(double)> progress_;
  std::function<void(absl::StatusOr<PreparedShard>)> done_;
  absl::StatusOr<PreparedShard> prepared_ = absl::InternalError(
      "the worker ended Prepare without saying what it prepared");
};

// gRPC 1.51 joins the threads of its callbacks when the last channel that uses
// them goes. If it goes within a callback, a thread joins itself and the
// process aborts, so one channel uses them for ever: a lame one, whose calls
// fail at once. `used`: or nothing would point to it, and it would be a leak.
void KeepCallbackThreads() {
  [[gnu::used]] static const auto* const kept = [] {
    auto* channel = new std::shared_ptr<grpc::Channel>(
        grpc::CreateChannel("", /*creds=*/nullptr));
    worker::v1::Worker::Stub stub(*channel);
    UnaryCall<worker::v1::GetInfoRequest, worker::v1::WorkerInfo> call;
    absl::Notification done;
    stub.async()->GetInfo(&call.context, &call.request, &call.response,
                          [&done](grpc::Status) { done.Notify(); });
    done.WaitForNotification();
    return channel;
  }();
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeWorkerChannel(
    const std::string& address, const TransportSecurity& security) {
  KeepCallbackThreads();
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMaxWorkerMessageBytes);
  args.SetMaxSendMessageSize(kMaxWorkerMessageBytes);
  // Measuring the link costs a ping for each message read, and a step is short.
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  args.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 2000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2000);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // Also the limit of one attempt to connect.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Two links to one address (a worker that registered anew) must not share a
  // connection that may be dying.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return security.MakeChannel(address, std::move(args));
}

// One Run call. Keeps itself alive until OnDone. Writes wait in a queue, since
// gRPC takes one at a time; it is bounded by kMaxStepsInFlight.
class GrpcWorkerLink::StepStream final
    : public grpc::ClientBidiReactor<worker::v1::StepRequest,
                                     worker::v1::StepResponse>,
      public std::enable_shared_from_this<StepStream> {
 public:
  StepStream(uint64_t membership_epoch, StepListener listener)
      : membership_epoch_(membership_epoch), listener_(std::move(listener)) {
    context_.AddMetadata(kEpochMetadata, absl::StrCat(membership_epoch));
  }

  void Start(std::shared_ptr<worker::v1::Worker::Stub> stub) {
    stub_ = std::move(stub);
    self_ = shared_from_this();
    stub_->async()->Run(&context_, this);
    StartRead(&response_);
    // Without a hold the call could end between two writes of other threads.
    AddHold();
    StartCall();
  }

  uint64_t membership_epoch() const { return membership_epoch_; }

  void Send(const Step& step) {
    auto request = std::make_unique<worker::v1::StepRequest>();
    WriteStep(membership_epoch_, step, request.get());
    worker::v1::StepRequest* next = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      if (closed_) return;
      requests_.push_back(std::move(request));
      if (requests_.size() > 1) return;
      next = requests_.front().get();
      // The call may not end before the write below has begun.
      AddHold();
    }
    StartWrite(next);
    RemoveHold();
  }

  void Close() {
    if (!MarkClosed()) return;
    context_.TryCancel();
    RemoveHold();
  }

  void OnWriteDone(bool ok) override {
    worker::v1::StepRequest* next = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      requests_.pop_front();
      // A failed write is told by OnReadDone and OnDone.
      if (ok && !closed_ && !requests_.empty()) next = requests_.front().get();
    }
    if (next != nullptr) StartWrite(next);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      // The worker ended the stream; OnDone tells why, once we let go.
      Break();
      return;
    }
    absl::StatusOr<StepAnswer> answer = ParseStepAnswer(response_);
    const absl::Status is_whole = CheckChecksum(response_);
    if (!is_whole.ok()) {
      answer = Failed(is_whole);
    } else if (!answer.ok()) {
      answer = Failed(absl::DataLossError(answer.status().message()));
    }
    listener_.on_answer(*std::move(answer));
    response_.Clear();
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    if (broken_) {
      absl::Status reason = StatusFromWire(status);
      if (reason.ok()) {
        reason = absl::UnavailableError("the worker ended the stream of steps");
      }
      listener_.on_broken(reason);
    }
    listener_ = {};
    self_.reset();  // may delete this
  }

 private:
  bool MarkClosed() {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    closed_ = true;
    return true;
  }
  // As if the worker had said so.
  StepAnswer Failed(const absl::Status& why) const {
    return {.membership_epoch = membership_epoch_,
            .step_id = response_.step_id(),
            .result = why};
  }
  // The stream's own end, if nobody closed it before.
  void Break() {
    if (!MarkClosed()) return;
    broken_ = true;  // read by OnDone, which comes after the hold is gone
    RemoveHold();
  }

  const uint64_t membership_epoch_;
  std::shared_ptr<worker::v1::Worker::Stub> stub_;
  grpc::ClientContext context_;
  StepListener listener_;
  worker::v1::StepResponse response_;
  bool broken_ = false;  // of reactions, which come one at a time
  std::shared_ptr<StepStream> self_;

  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::unique_ptr<worker::v1::StepRequest>> requests_
      ABSL_GUARDED_BY(mutex_);
};

GrpcWorkerLink::GrpcWorkerLink(std::shared_ptr<grpc::Channel> channel)
    : stub_(worker::v1::Worker::NewStub(std::move(channel))) {}

GrpcWorkerLink::~GrpcWorkerLink() {
  CloseSteps();
  CancelPrepare(nullptr);
}

void GrpcWorkerLink::CancelPrepare(std::shared_ptr<grpc::ClientContext> next) {
  {
    absl::MutexLock lock(&mutex_);
    preparing_.swap(next);
  }
  if (next != nullptr) next->TryCancel();  // no effect once it is over
}

void GrpcWorkerLink::Probe(absl::Duration timeout,
                           std::function<void(absl::Status)> done) {
  auto call = std::make_shared<
      UnaryCall<worker::v1::GetInfoRequest, worker::v1::WorkerInfo>>();
  call->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  stub_->async()->GetInfo(
      &call->context, &call->request, &call->response,
      [stub = stub_, call, done = std::move(done)](grpc::Status status) {
        done(StatusFromWire(status));
      });
}

void GrpcWorkerLink::Prepare(
    WorkerConfig config, absl::Duration timeout,
    std::function<void(double)> progress,
    std::function<void(absl::StatusOr<PreparedShard>)> done) {
  auto* call =
      new PrepareCall(config, timeout, std::move(progress), std::move(done));
  CancelPrepare(call->context());
  call->Start(stub_);
}

void GrpcWorkerLink::Join(uint64_t membership_epoch,
                          std::vector<std::string> endpoints,
                          absl::Duration timeout,
                          std::function<void(absl::Status)> done) {
  auto call = std::make_shared<
      UnaryCall<worker::v1::JoinRequest, worker::v1::JoinResponse>>();
  call->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  call->request.set_membership_epoch(membership_epoch);
  for (std::string& endpoint : endpoints) {
    call->request.add_endpoints(std::move(endpoint));
  }
  WriteChecksum(&call->request);
  stub_->async()->Join(
      &call->context, &call->request, &call->response,
      [stub = stub_, call, done = std::move(done)](grpc::Status status) {
        done(StatusFromWire(status));
      });
}

void GrpcWorkerLink::OpenSteps(uint64_t membership_epoch,
                               StepListener listener) {
  CloseSteps();
  auto stream =
      std::make_shared<StepStream>(membership_epoch, std::move(listener));
  // Started before others can see and close it.
  stream->Start(stub_);
  absl::MutexLock lock(&mutex_);
  stream_ = std::move(stream);
}

void GrpcWorkerLink::SendStep(uint64_t membership_epoch,
                              std::shared_ptr<const Step> step) {
  std::shared_ptr<StepStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    stream = stream_;
  }
  if (stream == nullptr || stream->membership_epoch() != membership_epoch) {
    return;
  }
  stream->Send(*step);
}

void GrpcWorkerLink::CloseSteps() {
  std::shared_ptr<StepStream> stream;
  {
    absl::MutexLock lock(&mutex_);
    stream = std::move(stream_);
    stream_ = nullptr;
  }
  if (stream != nullptr) stream->Close();
}

}  // namespace headwise
