// Scorers of the served model for streams and jobs of data selection.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_SCORERS_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_SCORERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/head_plan/head_plan.h"
#include "server/frontends/frontend_context.h"
#include "server/selection/document_scorer.h"
#include "server/selection/job_manifest.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeMaskedScorer(
    const FrontendContext& frontend, std::shared_ptr<const HeadPlan> plan,
    const ScoringOptions& scoring);

// Waits for the model's digest, minutes for a large one. FailedPrecondition:
// the job is of another model or kv_type, or its heads do not make its plan.
absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeJobScorer(
    const FrontendContext& frontend, const JobManifest& manifest);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_SCORERS_H_
