#include "server/dispatch/static_workers.h"

#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/pulse.h"
#include "grpcpp/client_context.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "server/dispatch/grpc_worker_link.h"
#include "server/dispatch/worker_info.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {

absl::StatusOr<std::vector<std::string>> ParseAddresses(
    const std::string& text) {
  constexpr size_t kMaxAddresses = 64;
  std::vector<std::string> addresses = absl::StrSplit(text, ',');
  if (addresses.size() > kMaxAddresses) {
    return absl::InvalidArgumentError(
        absl::StrCat(addresses.size(), " addresses, limit ", kMaxAddresses));
  }
  for (const std::string& address : addresses) {
    const size_t colon = address.rfind(':');
    int port = 0;
    if (colon == std::string::npos || colon == 0 ||
        !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 ||
        port > 65535) {
      return absl::InvalidArgumentError(
          absl::StrCat("address \"", address, "\" is not host:port"));
    }
  }
  return addresses;
}

// What a call in progress needs. One call at a time per worker, so its fields
// belong to whoever has set `asking`.
struct StaticWorkers::Worker {
  std::string address;
  std::unique_ptr<worker::v1::Worker::Stub> stub;
  std::atomic<bool> asking = false;
  std::unique_ptr<grpc::ClientContext> context;
  worker::v1::GetInfoRequest request;
  worker::v1::WorkerInfo response;
  std::optional<uint64_t> registration_id;
  uint64_t process_id = 0;
  std::string last_complaint;
};

StaticWorkers::StaticWorkers(const StaticWorkersOptions& options,
                             Membership& membership)
    : options_(options), membership_(membership) {
  for (const std::string& address : options_.addresses) {
    membership_.Report(address, "not asked yet");
    auto worker = std::make_unique<Worker>();
    worker->address = address;
    worker->stub = worker::v1::Worker::NewStub(
        MakeWorkerChannel(address, options_.security));
    workers_.push_back(std::move(worker));
  }
  thread_ = std::thread([this] { Loop(); });
}

StaticWorkers::~StaticWorkers() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_asking_ == 0;
  };
  mutex_.Await(absl::Condition(&idle));
}

void StaticWorkers::Loop() {
  ThreadPulse pulse("hw-static");
  while (true) {
    pulse.Beat(options_.interval + kPulseAllowance);
    for (const std::unique_ptr<Worker>& worker : workers_) {
      if (!worker->asking.exchange(true)) Ask(*worker);
    }
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_),
                                options_.interval)) {
      return;
    }
  }
}

void StaticWorkers::Ask(Worker& worker) {
  {
    absl::MutexLock lock(&mutex_);
    ++num_asking_;
  }
  worker.context = std::make_unique<grpc::ClientContext>();
  worker.context->set_deadline(
      absl::ToChronoTime(absl::Now() + options_.timeout));
  worker.stub->async()->GetInfo(
      worker.context.get(), &worker.request, &worker.response,
      [this, &worker](grpc::Status status) {
        absl::Status said = StatusFromWire(status);
        if (said.ok()) said = CheckChecksum(worker.response);
        if (said.ok()) {
          OnInfo(worker, ParseWorkerInfo(worker.response));
        } else {
          Say(worker, said);
        }
        worker.asking = false;
        absl::MutexLock lock(&mutex_);
        --num_asking_;
      });
}

void StaticWorkers::OnInfo(Worker& worker, const MemberInfo& info) {
  if (worker.registration_id.has_value() &&
      worker.process_id == info.process_id) {
    const absl::Status beat = membership_.Heartbeat(*worker.registration_id);
    // Registering again would make this worker and the one that has taken its
    // name replace each other forever.
    if (beat.ok() || (absl::IsAborted(beat) && IsTakenByAnother(info))) {
      Say(worker, beat);
      return;
    }
  }
  MemberInfo member = info;
  // The address by which we reach it, which need not be what it believes.
  member.address = worker.address;
  const absl::StatusOr<uint64_t> id = membership_.FindOrRegister(member);
  Say(worker, id.status());
  if (!id.ok()) return;
  if (worker.registration_id != *id && options_.log) {
    options_.log(
        absl::StrCat("worker ", info.name, " is found at ", worker.address));
  }
  worker.registration_id = *id;
  worker.process_id = info.process_id;
}

// Its own registration, if it has announced itself too, is not another's.
bool StaticWorkers::IsTakenByAnother(const MemberInfo& info) const {
  for (const Member& member : membership_.view()->members) {
    if (member.info.name != info.name) continue;
    return !IsSameProcess(member.info, info);
  }
  return false;
}

void StaticWorkers::Say(Worker& worker, const absl::Status& status) {
  const std::string complaint = status.ok() ? "" : status.ToString();
  membership_.Report(worker.address, complaint);
  if (complaint == worker.last_complaint) return;
  worker.last_complaint = complaint;
  if (!status.ok() && options_.log) {
    options_.log(absl::StrCat("worker at ", worker.address, ": ", complaint));
  }
}

}  // namespace headwise
