// worker.v1 messages <-> the plain structs of the worker's side.
//
// A hostile coordinator must not crash a worker: every field is checked here or
// by worker_config.h before anything acts on it.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_WIRE_H_
#define HEADWISE_WORKER_SERVICE_WORKER_WIRE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/status.h"
#include "headwise/worker/v1/worker.pb.h"
#include "worker/step/step.h"
#include "worker/service/worker_config.h"
#include "worker/service/worker_node.h"

namespace headwise {

// Limits of one message, both ways; the same as the coordinator's.
inline constexpr int kMaxCoordinatorMessageBytes = 64 << 20;

// InvalidArgument names the field, its value and the limit. What depends on the
// model's grid is checked by CheckShard once the model is open.
absl::StatusOr<WorkerConfig> ParsePrepare(
    const worker::v1::PrepareRequest& request);

// Only sizes that no model allows are refused here; CheckStep knows the rest.
absl::StatusOr<Step> ParseStep(const worker::v1::StepRequest& request);

absl::StatusOr<std::vector<std::string>> ParseEndpoints(
    const worker::v1::JoinRequest& request);

void WriteStepResult(uint64_t membership_epoch, uint64_t step_id,
                     const absl::StatusOr<StepResult>& result,
                     worker::v1::StepResponse* out);

void WritePrepared(const PreparedShard& prepared,
                   worker::v1::PrepareResponse* out);

// Codes are the same numbers.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_WIRE_H_
