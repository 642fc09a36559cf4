// worker.v1 messages <-> the plain structs of the coordinator's side.

#ifndef HEADWISE_SERVER_DISPATCH_DISPATCH_WIRE_H_
#define HEADWISE_SERVER_DISPATCH_DISPATCH_WIRE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/status.h"
#include "headwise/worker/v1/worker.pb.h"
#include "server/dispatch/worker_link.h"
#include "server/membership/membership.h"
#include "server/scheduler/step_plan.h"

namespace headwise {

// Limits of one message, both ways. A step of 8,192 rows with a score target
// and a token each is 80 kB; a chunk of 512 rows of hidden states of 8,192
// floats is 16 MiB. A shard of 256 layers is below 1 MB.
inline constexpr int kMaxWorkerMessageBytes = 64 << 20;

void WritePrepare(const PrepareOrder& order, worker::v1::PrepareRequest* out);
void WriteStep(uint64_t membership_epoch, const StepPlan& plan,
               worker::v1::StepRequest* out);

// Internal if a worker's answer has an impossible size; that a slice fits its
// plan is checked by StepBoard. Takes the vectors out of `response`.
absl::StatusOr<RankStepResult> ParseStepResponse(
    worker::v1::StepResponse* response);

// InvalidArgument for sizes out of range, and for an endpoint that is not 1 to
// 65536 printable bytes.
absl::StatusOr<PreparedRank> ParsePrepared(
    const worker::v1::PrepareResponse::Prepared& prepared);

// That the fields are in range is checked by Membership::Register.
MemberInfo ParseWorkerInfo(const worker::v1::WorkerInfo& info);

// Codes are the same numbers.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_DISPATCH_WIRE_H_
