#include "worker/service/worker_service.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/pulse.h"
#include "worker/service/run_stream.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/prepare_wire.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

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
    Finish(StatusToWire(status));
  }
  void OnDone() override { delete this; }
};

}  // namespace

WorkerService::WorkerService(WorkerNode& node,
                             std::function<worker::v1::WorkerInfo()> info,
                             const PrepareTimes& times)
    : node_(node), info_(std::move(info)), times_(times) {}

grpc::ServerUnaryReactor* WorkerService::GetInfo(
    grpc::CallbackServerContext* context,
    const worker::v1::GetInfoRequest* request,
    worker::v1::WorkerInfo* response) {
  *response = info_();
  WriteChecksum(response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(StatusToWire(CheckPulses(WorkerNode::kEnginePulse)));
  return reactor;
}

grpc::ServerWriteReactor<worker::v1::PrepareResponse>* WorkerService::Prepare(
    grpc::CallbackServerContext* context,
    const worker::v1::PrepareRequest* request) {
  return new PrepareStream(node_, *request, times_);
}

grpc::ServerUnaryReactor* WorkerService::Join(
    grpc::CallbackServerContext* context,
    const worker::v1::JoinRequest* request,
    worker::v1::JoinResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<std::vector<std::string>> endpoints = ParseEndpoints(*request);
  absl::Status started = endpoints.status();
  started.Update(CheckChecksum(*request));
  if (started.ok()) {
    // gRPC keeps `context` until Finish.
    started = node_.Join(
        request->membership_epoch(), *std::move(endpoints),
        [reactor](absl::Status status) {
          reactor->Finish(StatusToWire(status));
        },
        [context] { return !context->IsCancelled(); });
  }
  if (!started.ok()) reactor->Finish(StatusToWire(started));
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
