#include "server/calibration/act_filter.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/head_scores/plan_from_scores.h"
#include "server/calibration/choice_items.h"
#include "server/calibration/draws.h"

namespace headwise {
namespace {

// The paper leaves out layers 0, 1 and the last.
constexpr int64_t kFirstLayer = 2;
constexpr int64_t kNumRandomSets = 5;
constexpr int64_t kNumBootstraps = 2000;
constexpr double kMaxP = 0.05;
constexpr int64_t kHeadsAtOnce = 64;
constexpr uint64_t kBootstrapStream = uint64_t{1} << 33;

// An item as the model gets it.
struct TokenItem {
  std::vector<int32_t> tokens;  // prompt, label
  int64_t num_label = 0;
};

class ActFilter final : public CalibrationMethod {
 public:
  ActFilter(const ActOptions& options, const ModelFacts& facts,
            std::vector<TokenItem> items)
      : options_(options), facts_(facts), items_(std::move(items)) {}

  nlohmann::ordered_json manifest() const override {
    const auto* text = reinterpret_cast<const uint8_t*>(options_.items.data());
    nlohmann::ordered_json json = ManifestOf("act", facts_, options_.seed);
    json["items"] = options_.num_items;
    json["check_items"] = options_.num_check_items;
    json["sink_beta"] = options_.sink_beta;
    json["sink_threshold"] = options_.sink_threshold;
    json["items_sha256"] = options_.items.empty()
                               ? ""
                               : Sha256Hex(Sha256Of(absl::MakeConstSpan(
                                     text, options_.items.size())));
    return json;
  }

  // A record: the label's loss as the model is, then with each candidate head
  // calibrated.
  std::vector<TestSpec> tests() const override {
    return Specs("act/", 0, options_.num_items, 1 + num_candidates());
  }
  absl::StatusOr<TestRecord> RunTest(int64_t index,
                                     ModelRunner& runner) const override;
  absl::StatusOr<HeadScores> Score(
      absl::Span<const TestRecord> records) const override;

  // A record: the loss as the model is, with the kept heads, with each random
  // set.
  std::vector<TestSpec> checks() const override {
    return Specs("check/", options_.num_items, options_.num_check_items,
                 2 + kNumRandomSets);
  }
  absl::StatusOr<TestRecord> RunCheck(int64_t index, const HeadScores& scores,
                                      ModelRunner& runner) const override;
  CalibrationReport Report(const HeadScores& scores,
                           absl::Span<const TestRecord> tests,
                           absl::Span<const TestRecord> checks) const override;

 private:
  using Plan = std::shared_ptr<const HeadPlan>;

  int64_t first_candidate() const { return kFirstLayer * facts_.num_heads; }
  int64_t num_candidates() const {
    return (facts_.num_layers - kFirstLayer - 1) * facts_.num_heads;
  }
  std::vector<TestSpec> Specs(const char* prefix, int64_t first, int64_t count,
                              int64_t num_values) const;
  Plan PlanWith(absl::Span<const int64_t> heads) const;
  std::vector<int64_t> DrawHeads(int64_t count, uint64_t stream) const;
  // The mean loss of the label's tokens under each plan.
  absl::StatusOr<TestRecord> RunItem(std::string id, const TokenItem& item,
                                     const std::vector<Plan>& plans,
                                     ModelRunner& runner) const;

  const ActOptions options_;
  const ModelFacts facts_;
  const std::vector<TokenItem> items_;  // of tests, then of checks
};

std::vector<TestSpec> ActFilter::Specs(const char* prefix, int64_t first,
                                       int64_t count,
                                       int64_t num_values) const {
  std::vector<TestSpec> specs;
  for (int64_t i = 0; i < count; ++i) {
    const TokenItem& item = items_[static_cast<size_t>(first + i)];
    specs.push_back(
        {.id = absl::StrCat(prefix, i),
         .rows = num_values * static_cast<int64_t>(item.tokens.size()),
         .num_values = num_values});
  }
  return specs;
}

ActFilter::Plan ActFilter::PlanWith(absl::Span<const int64_t> heads) const {
  if (heads.empty()) return nullptr;
  HeadPlan plan = FullPlanOf(EmptyScores("act", facts_));
  for (const int64_t head : heads) {
    plan.heads[static_cast<size_t>(head)].sink_beta = options_.sink_beta;
    plan.heads[static_cast<size_t>(head)].sink_threshold =
        options_.sink_threshold;
  }
  return std::make_shared<const HeadPlan>(std::move(plan));
}

std::vector<int64_t> ActFilter::DrawHeads(int64_t count,
                                          uint64_t stream) const {
  std::vector<int64_t> heads(static_cast<size_t>(num_candidates()));
  std::iota(heads.begin(), heads.end(), first_candidate());
  Draws draws(options_.seed, stream);
  for (int64_t i = 0; i < count; ++i) {
    std::swap(
        heads[static_cast<size_t>(i)],
        heads[static_cast<size_t>(i + draws.Below(num_candidates() - i))]);
  }
  heads.resize(static_cast<size_t>(count));
  return heads;
}

absl::StatusOr<TestRecord> ActFilter::RunItem(std::string id,
                                              const TokenItem& item,
                                              const std::vector<Plan>& plans,
                                              ModelRunner& runner) const {
  TestRecord record;
  record.id = std::move(id);
  for (size_t begin = 0; begin < plans.size(); begin += kHeadsAtOnce) {
    const size_t end = std::min(plans.size(), begin + kHeadsAtOnce);
    std::vector<Continuation> work;
    for (size_t i = begin; i < end; ++i) {
      Continuation one;
      one.tokens = item.tokens;
      one.plan = plans[i];
      work.push_back(std::move(one));
    }
    HEADWISE_ASSIGN_OR_RETURN(const std::vector<ContinuationResult> results,
                              runner.Run(std::move(work)));
    for (const ContinuationResult& result : results) {
      const double logprob = std::accumulate(
          result.logprobs.end() - item.num_label, result.logprobs.end(), 0.0);
      record.values.push_back(-logprob / static_cast<double>(item.num_label));
    }
  }
  record.rows = static_cast<int64_t>(plans.size() * item.tokens.size());
  // Sinks are looked for in the whole prompt, so nothing of it can be shared.
  record.rows_without_reuse = record.rows;
  return record;
}

absl::StatusOr<TestRecord> ActFilter::RunTest(int64_t index,
                                              ModelRunner& runner) const {
  std::vector<Plan> plans = {nullptr};
  for (int64_t i = 0; i < num_candidates(); ++i) {
    plans.push_back(PlanWith({first_candidate() + i}));
  }
  return RunItem(absl::StrCat("act/", index),
                 items_[static_cast<size_t>(index)], plans, runner);
}

// The mean, less its standard error where there are two or more.
double CautiousMean(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / count;
  if (values.size() < 2) return mean;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return mean - std::sqrt(squares / (count - 1) / count);
}

absl::StatusOr<HeadScores> ActFilter::Score(
    absl::Span<const TestRecord> records) const {
  HeadScores scores = EmptyScores("act", facts_);
  scores.heads.resize(static_cast<size_t>(facts_.all_heads()));
  for (int64_t i = 0; i < num_candidates(); ++i) {
    std::vector<double> gains;
    for (const TestRecord& record : records) {
      gains.push_back(record.values[0] -
                      record.values[static_cast<size_t>(1 + i)]);
    }
    scores.heads[static_cast<size_t>(first_candidate() + i)] =
        CautiousMean(gains);
  }
  scores.units =
      MaxOverGroups(scores.heads, facts_.num_heads / facts_.num_kv_heads);
  return scores;
}

std::vector<int64_t> KeptHeads(const HeadScores& scores) {
  std::vector<int64_t> heads;
  for (size_t i = 0; i < scores.heads.size(); ++i) {
    if (scores.heads[i] > 0) heads.push_back(static_cast<int64_t>(i));
  }
  return heads;
}

absl::StatusOr<TestRecord> ActFilter::RunCheck(int64_t index,
                                               const HeadScores& scores,
                                               ModelRunner& runner) const {
  const std::vector<int64_t> kept = KeptHeads(scores);
  std::vector<Plan> plans = {nullptr, PlanWith(kept)};
  for (int64_t i = 0; i < kNumRandomSets; ++i) {
    plans.push_back(PlanWith(DrawHeads(static_cast<int64_t>(kept.size()),
                                       static_cast<uint64_t>(i))));
  }
  return RunItem(absl::StrCat("check/", index),
                 items_[static_cast<size_t>(options_.num_items + index)], plans,
                 runner);
}

CalibrationReport ActFilter::Report(const HeadScores& scores,
                                    absl::Span<const TestRecord> tests,
                                    absl::Span<const TestRecord> checks) const {
  const auto num_kept = static_cast<int64_t>(KeptHeads(scores).size());
  CalibrationReport report;
  report.figures = {{"tests", static_cast<double>(tests.size())},
                    {"heads_kept", static_cast<double>(num_kept)}};
  if (checks.empty()) return report;
  double loss = 0, kept_loss = 0, random_loss = 0;
  std::vector<double> against_random, against_none;
  for (const TestRecord& check : checks) {
    const double random =
        std::accumulate(check.values.begin() + 2, check.values.end(), 0.0) /
        kNumRandomSets;
    against_none.push_back(check.values[0] - check.values[1]);
    against_random.push_back(random - check.values[1]);
    const auto count = static_cast<double>(checks.size());
    loss += check.values[0] / count;
    kept_loss += check.values[1] / count;
    random_loss += random / count;
  }
  const double p = BootstrapP(against_random, kNumBootstraps, options_.seed);
  report.figures.insert(
      report.figures.end(),
      {{"loss_none", loss},
       {"loss_kept", kept_loss},
       {"loss_random_mean", random_loss},
       {"p_against_random", p},
       {"p_against_none",
        BootstrapP(against_none, kNumBootstraps, options_.seed)}});
  report.has_check = true;
  report.passed = num_kept > 0 && p < kMaxP;
  report.verdict = absl::StrFormat(
      "loss of labels %.4f as the model is, %.4f with %d heads calibrated, "
      "%.4f with as many random ones (%d sets); p %.4f",
      loss, kept_loss, num_kept, random_loss, kNumRandomSets, p);
  return report;
}

absl::Status CheckOptions(const ActOptions& options, const ModelFacts& facts) {
  if (options.num_items < 1 || options.num_items > kMaxChoiceItems ||
      options.num_check_items < 0 ||
      options.num_check_items > kMaxChoiceItems) {
    return absl::InvalidArgumentError(absl::StrCat(
        "items: ", options.num_items, " is outside [1, ", kMaxChoiceItems,
        "], or check_items: ", options.num_check_items, " is outside [0, ",
        kMaxChoiceItems, "]"));
  }
  if (!(options.sink_beta >= 0 && options.sink_beta < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sink_beta: ", options.sink_beta, " is outside [0, 1)"));
  }
  if (!(options.sink_threshold > 0 && options.sink_threshold <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sink_threshold: ", options.sink_threshold, " is outside (0, 1]"));
  }
  if (facts.num_layers < kFirstLayer + 2) {
    return absl::FailedPreconditionError(
        absl::StrCat("the model has ", facts.num_layers,
                     " layers; ACT leaves out the first two and the last"));
  }
  return absl::OkStatus();
}

// `count` items, given or drawn.
absl::StatusOr<std::vector<ChoiceItem>> Items(const ActOptions& options,
                                              int64_t count) {
  if (options.items.empty()) {
    Draws draws(options.seed, kBootstrapStream - 1);
    return DrawChoiceItems(count, draws);
  }
  HEADWISE_ASSIGN_OR_RETURN(std::vector<ChoiceItem> items,
                            ParseChoiceItems(options.items));
  if (static_cast<int64_t>(items.size()) < count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "items: ", items.size(), " are given, ", options.num_items,
        " tests and ", options.num_check_items, " checks need ", count));
  }
  return items;
}

}  // namespace

double BootstrapP(absl::Span<const double> differences, int64_t num_draws,
                  uint64_t seed) {
  Draws draws(seed, kBootstrapStream);
  const auto size = static_cast<int64_t>(differences.size());
  int64_t not_above = 0;
  for (int64_t i = 0; i < num_draws; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < size; ++j) {
      sum += differences[static_cast<size_t>(draws.Below(size))];
    }
    not_above += sum > 0 ? 0 : 1;
  }
  return static_cast<double>(not_above) / static_cast<double>(num_draws);
}

absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeActFilter(
    const ActOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options, facts));
  const int64_t count = options.num_items + options.num_check_items;
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<ChoiceItem> items,
                            Items(options, count));
  std::vector<TokenItem> token_items;
  for (int64_t i = 0; i < count; ++i) {
    const ChoiceItem& item = items[static_cast<size_t>(i)];
    TokenItem tokens;
    tokens.tokens = tokenizer.Encode(
        item.prompt, {.add_special = true, .parse_special = false});
    const std::vector<int32_t> label = tokenizer.Encode(
        item.label, {.add_special = false, .parse_special = false});
    tokens.num_label = static_cast<int64_t>(label.size());
    tokens.tokens.insert(tokens.tokens.end(), label.begin(), label.end());
    const auto size = static_cast<int64_t>(tokens.tokens.size());
    if (tokens.num_label == 0 || size <= tokens.num_label ||
        size > facts.max_context_len) {
      return absl::InvalidArgumentError(absl::StrCat(
          "items: item ", i, " has ", size, " tokens, its label ",
          tokens.num_label, "; the context holds ", facts.max_context_len));
    }
    token_items.push_back(std::move(tokens));
  }
  return std::make_unique<ActFilter>(options, facts, std::move(token_items));
}

}  // namespace headwise
