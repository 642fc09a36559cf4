// Scores of heads into a head plan.

#ifndef HEADWISE_MODEL_HEAD_SCORES_PLAN_FROM_SCORES_H_
#define HEADWISE_MODEL_HEAD_SCORES_PLAN_FROM_SCORES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/head_plan/head_plan.h"
#include "model/head_scores/head_scores.h"

namespace headwise {

struct PlanRule {
  enum class Use {
    // The best `fraction` of units see as `kept` says, the others as `rest`.
    kKeepUnits,
    // The best `fraction` of query heads get `mask`.
    kMaskHeads,
    // Query heads whose score is above 0 get sink_beta and sink_threshold
    // (ACT).
    kCalibrateHeads,
  };
  Use use = Use::kKeepUnits;
  double fraction = 0.25;  // 0 to 1; of a count it is rounded, half up
  UnitPolicy kept;        // full
  UnitPolicy rest = {
      .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 256};
  HeadMask mask = HeadMask::kUniform;  // not kNone
  float sink_beta = 0.4f;              // 0 to 1
  float sink_threshold = 0.1f;         // (0, 1]
};

// `fraction` of `total`, rounded half up.
int64_t CountOfFraction(double fraction, int64_t total);

// A plan of full units: what a rule begins with.
HeadPlan FullPlanOf(const HeadScores& scores);

// Ranked by RankByScore: equals go by their order. InvalidArgument if scores or
// rule are not valid, or if the rule needs scores of query heads and there are
// none.
absl::StatusOr<HeadPlan> PlanFromScores(const HeadScores& scores,
                                        const PlanRule& rule);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_SCORES_PLAN_FROM_SCORES_H_
