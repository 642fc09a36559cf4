#include "worker/service/registrar.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/pulse.h"
#include "grpcpp/alarm.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

constexpr int kMaxMessageBytes = 64 << 10;  // both ways; real ones: below 1 kB

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const TransportSecurity& security) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMaxMessageBytes);
  args.SetMaxSendMessageSize(kMaxMessageBytes);
  // Not below what the coordinator allows its clients, 5 s.
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 6000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // Also the limit of one attempt to connect.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return security.MakeChannel(address, std::move(args));
}

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

// Cancels a call unless it is stopped before.
class CallLimit {
 public:
  CallLimit(grpc::ClientContext& context, absl::Duration limit) {
    alarm_.Set(absl::ToChronoTime(absl::Now() + limit),
               [this, &context](bool is_over) {
                 if (is_over) context.TryCancel();
                 is_over_ = is_over;
                 done_.Notify();
               });
  }
  // Whether the limit has passed. To be called once.
  bool Stop() {
    alarm_.Cancel();
    done_.WaitForNotification();  // the callback comes in any case
    return is_over_;
  }

 private:
  grpc::Alarm alarm_;
  bool is_over_ = false;  // once done_
  absl::Notification done_;
};

}  // namespace

Registrar::Registrar(RegistrarOptions options)
    : options_(std::move(options)), thread_([this] { Loop(); }) {}

Registrar::~Registrar() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  thread_.join();
}

bool Registrar::Wait(absl::Duration duration) {
  BeatThreadPulse(duration + kAllowance);
  absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&stopping_), duration);
}

void Registrar::Loop() {
  const ThreadPulse pulse("hw-registrar");
  std::vector<std::unique_ptr<worker::v1::Registry::Stub>> stubs;
  for (const std::string& coordinator : options_.coordinators) {
    stubs.push_back(worker::v1::Registry::NewStub(
        MakeChannel(coordinator, options_.security)));
  }
  const absl::Duration max_backoff =
      stubs.size() == 1 ? options_.max_backoff : options_.max_search_backoff;
  size_t next = 0;
  absl::Duration backoff = options_.min_backoff;
  std::uniform_real_distribution<double> share(0.0, 1.0);
  while (Wait(absl::ZeroDuration())) {
    if (!IsWell()) {
      if (!Wait(options_.heartbeat_interval)) return;
      continue;
    }
    bool accepted = false;
    const std::string& coordinator = options_.coordinators[next];
    const absl::Status status = Attempt(coordinator, *stubs[next], &accepted);
    if (!Wait(absl::ZeroDuration())) return;
    if (options_.on_change) options_.on_change(coordinator, status);
    if (absl::IsAborted(status)) return;
    if (accepted) backoff = options_.min_backoff;
    next = (next + 1) % stubs.size();
    if (next != 0) continue;
    if (!Wait(backoff * (0.5 + 0.5 * share(random_)))) return;
    backoff = std::min(backoff * 2, max_backoff);
  }
}

absl::Status Registrar::Attempt(const std::string& coordinator,
                                worker::v1::Registry::Stub& stub,
                                bool* accepted) {
  grpc::ClientContext context;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("the worker stops");
    context_ = &context;
  }
  std::unique_ptr<Stream> stream = stub.Register(&context);
  const absl::StatusOr<bool> introduced =
      Introduce(coordinator, *stream, context);
  *accepted = introduced.value_or(false);
  absl::Status result =
      introduced.ok() ? absl::UnavailableError(absl::StrCat(
                            "no answer from the coordinator at ", coordinator))
                      : introduced.status();
  if (*accepted) {
    if (options_.on_change) options_.on_change(coordinator, absl::OkStatus());
    result = Beat(*stream);
  }
  stream->WritesDone();
  worker::v1::RegisterResponse answer;
  // A last message may say why we were dropped; the status does too.
  while (stream->Read(&answer)) {
  }
  const grpc::Status status = stream->Finish();
  {
    absl::MutexLock lock(&mutex_);
    context_ = nullptr;
  }
  return status.ok() || !introduced.ok() ? result : FromGrpc(status);
}

absl::StatusOr<bool> Registrar::Introduce(const std::string& coordinator,
                                          Stream& stream,
                                          grpc::ClientContext& context) {
  worker::v1::RegisterRequest hello;
  *hello.mutable_info() = options_.info;
  WriteChecksum(hello.mutable_info());
  worker::v1::RegisterResponse answer;
  CallLimit limit(context, options_.answer_timeout);
  const bool accepted =
      stream.Write(hello) && stream.Read(&answer) && answer.accepted();
  if (!limit.Stop()) return accepted;
  return absl::DeadlineExceededError(absl::StrCat(
      "the coordinator at ", coordinator, " did not answer within ",
      absl::FormatDuration(options_.answer_timeout)));
}

// Ends when a heartbeat can't be written or the registrar stops.
absl::Status Registrar::Beat(Stream& stream) {
  worker::v1::RegisterRequest beat;
  for (uint64_t count = 1; Wait(options_.heartbeat_interval); ++count) {
    if (!IsWell()) continue;
    beat.set_heartbeat(count);
    if (!stream.Write(beat)) {
      return absl::UnavailableError("the coordinator ended the registration");
    }
  }
  return absl::CancelledError("the worker stops");
}

}  // namespace headwise
