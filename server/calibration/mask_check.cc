#include "server/calibration/mask_check.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/head_scores/plan_from_scores.h"

namespace headwise {
namespace {

std::shared_ptr<const HeadPlan> PlanWithMasks(const HeadScores& scores,
                                              absl::Span<const int64_t> heads) {
  HeadPlan plan = FullPlanOf(scores);
  for (const int64_t head : heads) {
    plan.heads[static_cast<size_t>(head)].mask = HeadMask::kUniform;
  }
  return std::make_shared<const HeadPlan>(std::move(plan));
}

// The heads in [begin, end) that are not in `excluded`.
std::vector<int64_t> Others(int64_t begin, int64_t end,
                            const std::set<int64_t>& excluded) {
  std::vector<int64_t> heads;
  for (int64_t head = begin; head < end; ++head) {
    if (excluded.count(head) == 0) heads.push_back(head);
  }
  return heads;
}

}  // namespace

std::vector<int64_t> LayerMatchedHeads(const HeadScores& scores, int64_t count,
                                       Draws& draws) {
  const std::vector<int64_t> order = RankByScore(scores.heads);
  const auto num_heads = static_cast<int64_t>(order.size());
  const auto best_end = order.begin() + count;
  // In each, the heads that were drawn.
  std::set<int64_t> near_best(order.begin(),
                              order.begin() + std::min(num_heads, 2 * count));
  std::set<int64_t> best(order.begin(), best_end);
  std::vector<int64_t> drawn;
  for (auto head = order.begin(); head != best_end; ++head) {
    const int64_t layer_begin = *head / scores.num_heads * scores.num_heads;
    const int64_t layer_end = layer_begin + scores.num_heads;
    std::vector<int64_t> choices = Others(layer_begin, layer_end, near_best);
    if (choices.empty()) choices = Others(layer_begin, layer_end, best);
    if (choices.empty()) choices = Others(0, num_heads, best);
    if (choices.empty()) break;
    drawn.push_back(draws.Of(choices));
    near_best.insert(drawn.back());
    best.insert(drawn.back());
  }
  return drawn;
}

Variants MaskVariants(const HeadScores& scores, int64_t count, uint64_t seed) {
  std::vector<int64_t> best = RankByScore(scores.heads);
  best.resize(static_cast<size_t>(count));
  Variants variants = {nullptr, PlanWithMasks(scores, best)};
  for (int64_t i = 0; i < kNumRandomMasks; ++i) {
    Draws draws(seed, static_cast<uint64_t>(i));
    variants.push_back(
        PlanWithMasks(scores, LayerMatchedHeads(scores, count, draws)));
  }
  return variants;
}

CalibrationReport ReportMasks(absl::Span<const TestRecord> records,
                              int64_t count) {
  constexpr double kTimesRandom = 3;
  const std::vector<AnswerQuality> means = MeanQualities(records);
  const AnswerQuality& none = means[0];
  const AnswerQuality& top = means[1];
  CalibrationReport report;
  report.figures = {{"heads_masked", static_cast<double>(count)},
                    {"accuracy_none", none.accuracy},
                    {"accuracy_top", top.accuracy}};
  AnswerQuality random;
  for (size_t i = 2; i < means.size(); ++i) {
    report.figures.push_back(
        {absl::StrCat("accuracy_random_", i - 1), means[i].accuracy});
    random.accuracy += means[i].accuracy / kNumRandomMasks;
    random.logprob += means[i].logprob / kNumRandomMasks;
  }
  report.figures.insert(report.figures.end(),
                        {{"accuracy_random_mean", random.accuracy},
                         {"logprob_none", none.logprob},
                         {"logprob_top", top.logprob},
                         {"logprob_random_mean", random.logprob}});
  const auto breaks = [](double without, double with_top, double with_random) {
    return without > with_top &&
           without - with_top >= kTimesRandom * (without - with_random);
  };
  report.has_check = true;
  report.passed = breaks(none.logprob, top.logprob, random.logprob) &&
                  breaks(none.accuracy, top.accuracy, random.accuracy);
  report.verdict = absl::StrFormat(
      "accuracy %.2f with no head masked, %.2f with the best %d, %.2f "
      "with random ones (%d seeds); log-probability %.3f, %.3f, %.3f",
      none.accuracy, top.accuracy, count, random.accuracy, kNumRandomMasks,
      none.logprob, top.logprob, random.logprob);
  return report;
}

}  // namespace headwise
