// A step and its answer: worker.v1 messages <-> plain structs.
//
// Sizes that no model allows are refused here; the rest is checked before
// anything acts on it, by worker/service/input_checks.h and by
// server/dispatch/step_board.h.

#ifndef HEADWISE_WORKER_STEP_WIRE_STEP_WIRE_H_
#define HEADWISE_WORKER_STEP_WIRE_STEP_WIRE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "headwise/worker/v1/worker.pb.h"
#include "worker/step/step.h"

namespace headwise {

// Requires plans that CheckHeadPlan accepts.
void WriteStep(uint64_t membership_epoch, const Step& step,
               worker::v1::StepRequest* out);

// InvalidArgument names the field, its value and the limit; a plan is one that
// CheckHeadPlan accepts.
absl::StatusOr<Step> ParseStep(const worker::v1::StepRequest& request);

void WriteStepAnswer(const StepAnswer& answer, worker::v1::StepResponse* out);

// Internal if an answer has an impossible size. Measurements are clamped, so
// that a broken value can't poison the sums of metrics.
absl::StatusOr<StepAnswer> ParseStepAnswer(
    const worker::v1::StepResponse& response);

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WIRE_STEP_WIRE_H_
