// Scores texts on the engine, under two plans at once.

#ifndef HEADWISE_SERVER_SELECTION_ENGINE_DOCUMENT_SCORER_H_
#define HEADWISE_SERVER_SELECTION_ENGINE_DOCUMENT_SCORER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/head_plan/head_plan.h"
#include "model/tokenizer/tokenizer.h"
#include "server/scheduler/engine.h"
#include "server/selection/document_scorer.h"

namespace headwise {

// Tokens of a window where ScoringOptions leaves it to us: the model's context,
// at most this many.
inline constexpr int64_t kDefaultWindow = 2048;

struct EngineScorerOptions {
  ScoringOptions scoring;
  int64_t max_context_len = 0;           // the model's
  std::shared_ptr<const HeadPlan> plan;  // null: every unit full, no mask
  std::shared_ptr<const HeadPlan> masked_plan;  // not null
  bool is_background = true;                    // else as any other request
};

// `scoring` with its window filled in. InvalidArgument names the field, its
// value and the limit.
absl::StatusOr<ScoringOptions> ResolveScoring(const ScoringOptions& scoring,
                                              int64_t max_context_len);

// Each window is one request, whose rows are scored under both plans; windows
// of a document run one after the other. Engine and tokenizer outlive every
// text that is under way. A full queue is told as Unavailable, caches that no
// window fits into as FailedPrecondition. InvalidArgument as ResolveScoring.
absl::StatusOr<std::unique_ptr<DocumentScorer>> MakeEngineDocumentScorer(
    Engine& engine, const Tokenizer& tokenizer,
    const EngineScorerOptions& options);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_ENGINE_DOCUMENT_SCORER_H_
