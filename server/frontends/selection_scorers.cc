#include "server/frontends/selection_scorers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_hash.h"
#include "server/frontends/masked_plan.h"
#include "server/frontends/numerics_check.h"
#include "server/selection/engine_document_scorer.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeMaskedScorer(
    const FrontendContext& frontend, std::shared_ptr<const HeadPlan> plan,
    const ScoringOptions& scoring) {
  EngineScorerOptions options;
  options.scoring = scoring;
  options.max_context_len =
      frontend.model.model->hyperparameters().max_context_len;
  options.masked_plan = std::move(plan);
  return MakeEngineDocumentScorer(frontend.engine, *frontend.model.tokenizer,
                                  options);
}

absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeJobScorer(
    const FrontendContext& frontend, const JobManifest& manifest) {
  const std::string sha256 = frontend.digest.Await();
  if (sha256 != manifest.model_sha256) {
    return absl::FailedPreconditionError(
        absl::StrCat("the job is of the model with SHA-256 ",
                     manifest.model_sha256, "; this server's has ", sha256));
  }
  if (frontend.model.kv_type != manifest.kv_type) {
    return absl::FailedPreconditionError(
        absl::StrCat("the job is of keys and values in ", manifest.kv_type,
                     "; this server's are in ", frontend.model.kv_type));
  }
  HEADWISE_RETURN_IF_ERROR(CheckNumerics("the job", manifest.numerics));
  HEADWISE_ASSIGN_OR_RETURN(
      HeadPlan plan,
      PlanOfMaskedHeads({manifest.masked_heads, manifest.mask},
                        frontend.model.model->hyperparameters(), sha256));
  if (HeadPlanHash(plan) != manifest.masked_plan_sha256) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the job's masked heads give the plan ", HeadPlanHash(plan),
        ", not its masked_plan_sha256 ", manifest.masked_plan_sha256));
  }
  return MakeMaskedScorer(frontend,
                          std::make_shared<const HeadPlan>(std::move(plan)),
                          manifest.scoring);
}

}  // namespace headwise
