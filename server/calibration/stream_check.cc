#include "server/calibration/stream_check.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/head_scores/plan_from_scores.h"
#include "server/calibration/draws.h"

namespace headwise {
namespace {

std::shared_ptr<const HeadPlan> PlanWithStreams(const HeadScores& scores,
                                                absl::Span<const int64_t> units,
                                                const UnitPolicy& rest) {
  HeadPlan plan = FullPlanOf(scores);
  for (const int64_t unit : units) {
    plan.units[static_cast<size_t>(unit)] = rest;
  }
  return std::make_shared<const HeadPlan>(std::move(plan));
}

std::vector<int64_t> Shuffled(int64_t count, Draws& draws) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = count - 1; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)],
              order[static_cast<size_t>(draws.Below(i + 1))]);
  }
  return order;
}

}  // namespace

Variants StreamVariants(const HeadScores& scores, const UnitPolicy& rest,
                        uint64_t seed) {
  const std::vector<int64_t> order = RankByScore(scores.units);
  const size_t half = order.size() / 2;
  const auto plan_of = [&](absl::Span<const int64_t> units) {
    return PlanWithStreams(scores, units, rest);
  };
  Variants variants = {nullptr, plan_of(absl::MakeConstSpan(order).last(half)),
                       plan_of(absl::MakeConstSpan(order).first(half))};
  for (int64_t i = 0; i < kNumRandomHalves; ++i) {
    Draws draws(seed, static_cast<uint64_t>(i));
    const std::vector<int64_t> random =
        Shuffled(static_cast<int64_t>(order.size()), draws);
    variants.push_back(plan_of(absl::MakeConstSpan(random).first(half)));
  }
  return variants;
}

CalibrationReport ReportStreams(absl::Span<const TestRecord> records) {
  constexpr double kMaxPartOfRandom = 0.1;
  const std::vector<AnswerQuality> means = MeanQualities(records);
  const double full = means[0].logprob;
  const double worse_drop = full - means[1].logprob;
  const double better_drop = full - means[2].logprob;
  double random_drop = 0;
  double worst_random = 0;
  CalibrationReport report;
  report.figures = {{"logprob_full", full},
                    {"drop_worse_half", worse_drop},
                    {"drop_better_half", better_drop}};
  for (size_t i = 3; i < means.size(); ++i) {
    const double drop = full - means[i].logprob;
    report.figures.push_back({absl::StrCat("drop_random_", i - 2), drop});
    random_drop += drop / kNumRandomHalves;
    worst_random = std::max(worst_random, drop);
  }
  report.figures.push_back({"drop_random_mean", random_drop});
  report.has_check = true;
  report.passed = random_drop > 0 &&
                  worse_drop <= kMaxPartOfRandom * random_drop &&
                  better_drop >= worst_random;
  report.verdict = absl::StrFormat(
      "log-probability of answers %.3f; streaming the worse half of units "
      "costs %.3f, random halves %.3f (%d seeds), the better half %.3f",
      full, worse_drop, random_drop, kNumRandomHalves, better_drop);
  return report;
}

}  // namespace headwise
