#include "model/head_scores/plan_from_scores.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"

namespace headwise {
namespace {

absl::Status CheckRule(const PlanRule& rule, const HeadScores& scores) {
  // Written so that NaN is refused.
  if (!(rule.fraction >= 0 && rule.fraction <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("fraction is ", rule.fraction, ", must be 0 to 1"));
  }
  if (rule.use == PlanRule::Use::kKeepUnits) {
    HEADWISE_RETURN_IF_ERROR(CheckUnitPolicy(rule.kept));
    return CheckUnitPolicy(rule.rest);
  }
  if (scores.heads.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores of method ", scores.method,
                     " know no query heads: none can be masked or calibrated"));
  }
  if (rule.use == PlanRule::Use::kMaskHeads && rule.mask == HeadMask::kNone) {
    return absl::InvalidArgumentError("mask is none, must be uniform or zero");
  }
  if (rule.use == PlanRule::Use::kCalibrateHeads &&
      !(rule.sink_beta >= 0 && rule.sink_beta <= 1 && rule.sink_threshold > 0 &&
        rule.sink_threshold <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sink_beta is ", rule.sink_beta, " and sink_threshold is ",
                     rule.sink_threshold, "; must be in [0, 1] and in (0, 1]"));
  }
  return absl::OkStatus();
}

void KeepBestUnits(const HeadScores& scores, const PlanRule& rule,
                   HeadPlan& plan) {
  const std::vector<int64_t> order = RankByScore(scores.units);
  const int64_t num_units = static_cast<int64_t>(order.size());
  const int64_t num_kept = CountOfFraction(rule.fraction, num_units);
  for (int64_t rank = 0; rank < num_units; ++rank) {
    plan.units[static_cast<size_t>(order[static_cast<size_t>(rank)])] =
        rank < num_kept ? rule.kept : rule.rest;
  }
}

void MaskBestHeads(const HeadScores& scores, const PlanRule& rule,
                   HeadPlan& plan) {
  std::vector<int64_t> order = RankByScore(scores.heads);
  order.resize(static_cast<size_t>(
      CountOfFraction(rule.fraction, static_cast<int64_t>(order.size()))));
  for (const int64_t head : order) {
    plan.heads[static_cast<size_t>(head)].mask = rule.mask;
  }
}

}  // namespace

int64_t CountOfFraction(double fraction, int64_t total) {
  return static_cast<int64_t>(
      std::floor(fraction * static_cast<double>(total) + 0.5));
}

HeadPlan FullPlanOf(const HeadScores& scores) {
  HeadPlan plan =
      FullHeadPlan(scores.num_layers, scores.num_heads, scores.num_kv_heads);
  plan.model_sha256 = scores.model_sha256;
  return plan;
}

absl::StatusOr<HeadPlan> PlanFromScores(const HeadScores& scores,
                                        const PlanRule& rule) {
  HEADWISE_RETURN_IF_ERROR(CheckHeadScores(scores));
  HEADWISE_RETURN_IF_ERROR(CheckRule(rule, scores));
  HeadPlan plan = FullPlanOf(scores);
  switch (rule.use) {
    case PlanRule::Use::kKeepUnits:
      KeepBestUnits(scores, rule, plan);
      break;
    case PlanRule::Use::kMaskHeads:
      MaskBestHeads(scores, rule, plan);
      break;
    case PlanRule::Use::kCalibrateHeads:
      for (size_t i = 0; i < plan.heads.size(); ++i) {
        if (scores.heads[i] <= 0) continue;
        plan.heads[i].sink_beta = rule.sink_beta;
        plan.heads[i].sink_threshold = rule.sink_threshold;
      }
      break;
  }
  plan.origin = absl::StrCat("calibrated by ", scores.method);
  return plan;
}

}  // namespace headwise
