// Forming a group: worker.v1 messages <-> plain structs.
//
// A hostile coordinator must not crash a worker, nor a hostile worker the
// coordinator: what a struct can't hold, or no model has, is refused here; the
// rest by worker/service/input_checks.h before anything acts on it.

#ifndef HEADWISE_WORKER_STEP_WIRE_PREPARE_WIRE_H_
#define HEADWISE_WORKER_STEP_WIRE_PREPARE_WIRE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "headwise/worker/v1/worker.pb.h"
#include "worker/step/worker_config.h"

namespace headwise {

// Requires a group that is not kAuto.
void WritePrepare(const WorkerConfig& config, worker::v1::PrepareRequest* out);

// InvalidArgument names the field, its value and the limit.
absl::StatusOr<WorkerConfig> ParsePrepare(
    const worker::v1::PrepareRequest& request);

void WritePrepared(const PreparedShard& prepared,
                   worker::v1::PrepareResponse* out);

// InvalidArgument for sizes out of range, and for an endpoint that is not 1 to
// 65536 printable bytes.
absl::StatusOr<PreparedShard> ParsePrepared(
    const worker::v1::PrepareResponse::Prepared& prepared);

// InvalidArgument for more endpoints than ranks can be, or one above 64 KiB.
absl::StatusOr<std::vector<std::string>> ParseEndpoints(
    const worker::v1::JoinRequest& request);

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WIRE_PREPARE_WIRE_H_
