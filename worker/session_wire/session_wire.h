// worker.v1.AttentionWorker's messages <-> plain structs; both ends use it.
//
// What a struct can't hold is refused here; the rest by who acts on it: the
// worker's SessionStore, the coordinator's merge.

#ifndef HEADWISE_WORKER_SESSION_WIRE_SESSION_WIRE_H_
#define HEADWISE_WORKER_SESSION_WIRE_SESSION_WIRE_H_

#include "absl/status/statusor.h"
#include "headwise/worker/v1/attention_worker.pb.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

void WriteOpenPart(const OpenPartRequest& request,
                   worker::v1::OpenPartRequest* out);
// InvalidArgument for an element or input type that is none.
absl::StatusOr<OpenPartRequest> ParseOpenPart(
    const worker::v1::OpenPartRequest& request);

// These move what they can out of their argument.
void WriteStage(StageRequest request, worker::v1::StageRequest* out);
StageRequest ParseStage(worker::v1::StageRequest request);

void WriteAttendPart(const AttendPartRequest& request,
                     worker::v1::AttendPartRequest* out);
AttendPartRequest ParseAttendPart(const worker::v1::AttendPartRequest& request);
void WriteAttendResult(const AttendPartResult& result,
                       worker::v1::AttendPartResponse* out);
AttendPartResult ParseAttendResult(
    const worker::v1::AttendPartResponse& response);

void WriteProbePart(const ProbePartRequest& request,
                    worker::v1::ProbePartRequest* out);
ProbePartRequest ParseProbePart(const worker::v1::ProbePartRequest& request);
void WriteProbeResult(const ProbePartResult& result,
                      worker::v1::ProbePartResponse* out);
// InvalidArgument if positions and probabilities are not as many.
absl::StatusOr<ProbePartResult> ParseProbeResult(
    const worker::v1::ProbePartResponse& response);

void WriteRun(const BlockRun& run, worker::v1::BlockRun* out);
BlockRun ParseRun(const worker::v1::BlockRun& run);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSION_WIRE_SESSION_WIRE_H_
