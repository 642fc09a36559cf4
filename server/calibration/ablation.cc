#include "server/calibration/ablation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_scores/plan_from_scores.h"
#include "server/calibration/needle_prompt.h"
#include "server/calibration/stream_check.h"

namespace headwise {
namespace {

constexpr int64_t kMaxPrompts = 256;
constexpr int64_t kMaxNeedles = 16;
constexpr int64_t kMaxWords = 32;
// Units whose final states are in memory at once; also what the scheduler gets
// to batch.
constexpr int64_t kUnitsAtOnce = 16;
constexpr uint64_t kCheckStream = uint64_t{1} << 32;

UnitPolicy StreamingPolicy(const AblationOptions& options) {
  return {.kind = PolicyKind::kStreaming,
          .num_sinks = options.num_sinks,
          .window = options.window};
}

absl::Status CheckRange(const char* name, int64_t value, int64_t min,
                        int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", value, " is outside [", min, ", ", max, "]"));
}

absl::Status CheckOptions(const AblationOptions& options,
                          const ModelFacts& facts) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("prompts", options.num_prompts, 1, kMaxPrompts));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("needles", options.num_needles, 1, kMaxNeedles));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("words", options.num_words, 1, kMaxWords));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("check_tests", options.num_check_tests, 0, kMaxPrompts));
  HEADWISE_RETURN_IF_ERROR(CheckUnitPolicy(StreamingPolicy(options)));
  // Where all that a prompt has is seen by a streaming unit too, all scores
  // would be 0.
  return CheckRange(
      "length", options.length,
      std::max(kMinPromptLen, options.num_sinks + options.window + 1),
      facts.max_context_len);
}

class Ablation final : public CalibrationMethod {
 public:
  Ablation(const AblationOptions& options, const ModelFacts& facts,
           Haystack haystack)
      : options_(options), facts_(facts), haystack_(std::move(haystack)) {}

  nlohmann::ordered_json manifest() const override {
    const auto* text =
        reinterpret_cast<const uint8_t*>(options_.haystack.data());
    nlohmann::ordered_json json = ManifestOf("ablation", facts_, options_.seed);
    json["length"] = options_.length;
    json["prompts"] = options_.num_prompts;
    json["needles"] = options_.num_needles;
    json["words"] = options_.num_words;
    json["sinks"] = options_.num_sinks;
    json["window"] = options_.window;
    json["check_tests"] = options_.num_check_tests;
    json["haystack_sha256"] = options_.haystack.empty()
                                  ? ""
                                  : Sha256Hex(Sha256Of(absl::MakeConstSpan(
                                        text, options_.haystack.size())));
    return json;
  }

  std::vector<TestSpec> tests() const override {
    const int64_t tail =
        static_cast<int64_t>(Prompt(0).Tail().size()) * (1 + num_units());
    return Specs("ablation/", options_.num_prompts, options_.length + tail,
                 num_units());
  }
  absl::StatusOr<TestRecord> RunTest(int64_t index,
                                     ModelRunner& runner) const override;
  absl::StatusOr<HeadScores> Score(
      absl::Span<const TestRecord> records) const override;

  std::vector<TestSpec> checks() const override {
    return Specs("check/", options_.num_check_tests, 2 * options_.length,
                 kNumStreamVariants * kNumQualities);
  }
  absl::StatusOr<TestRecord> RunCheck(int64_t index, const HeadScores& scores,
                                      ModelRunner& runner) const override {
    return RunContrast(
        absl::StrCat("check/", index),
        Prompt(kCheckStream + static_cast<uint64_t>(index)),
        StreamVariants(scores, StreamingPolicy(options_), options_.seed),
        runner);
  }
  CalibrationReport Report(const HeadScores& scores,
                           absl::Span<const TestRecord> tests,
                           absl::Span<const TestRecord> checks) const override;

 private:
  int64_t num_units() const { return facts_.all_units(); }

  NeedlePrompt Prompt(uint64_t stream) const {
    Draws draws(options_.seed, stream);
    return MakePassKeysPrompt(haystack_, options_.length, options_.num_needles,
                              options_.num_words, draws);
  }

  static std::vector<TestSpec> Specs(const char* prefix, int64_t count,
                                     int64_t rows, int64_t num_values) {
    std::vector<TestSpec> specs;
    for (int64_t i = 0; i < count; ++i) {
      specs.push_back({.id = absl::StrCat(prefix, i),
                       .rows = rows,
                       .num_values = num_values});
    }
    return specs;
  }

  // The labelled rows with one unit streaming, or with none for -1.
  Continuation Labelled(const NeedlePrompt& prompt, uint64_t prefix,
                        int64_t unit) const;

  const AblationOptions options_;
  const ModelFacts facts_;
  const Haystack haystack_;
};

Continuation Ablation::Labelled(const NeedlePrompt& prompt, uint64_t prefix,
                                int64_t unit) const {
  Continuation work;
  work.prefix = prefix;
  work.tokens = prompt.Tail();
  work.want = Continuation::Want::kHidden;
  if (unit < 0) return work;
  HeadPlan plan = FullPlanOf(EmptyScores("ablation", facts_));
  plan.units[static_cast<size_t>(unit)] = StreamingPolicy(options_);
  work.plan = std::make_shared<const HeadPlan>(std::move(plan));
  return work;
}

double MeanSquaredDifference(const std::vector<float>& a,
                             const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - b[i];
    sum += difference * difference;
  }
  return sum / static_cast<double>(a.size());
}

absl::StatusOr<TestRecord> Ablation::RunTest(int64_t index,
                                             ModelRunner& runner) const {
  const NeedlePrompt prompt = Prompt(static_cast<uint64_t>(index));
  HEADWISE_ASSIGN_OR_RETURN(const ScopedPrefix prefix,
                            ScopedPrefix::Create(runner, prompt.prefix));
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<ContinuationResult> full,
      runner.Run({Labelled(prompt, prefix.id(), /*unit=*/-1)}));
  TestRecord record;
  record.id = absl::StrCat("ablation/", index);
  for (int64_t begin = 0; begin < num_units(); begin += kUnitsAtOnce) {
    const int64_t end = std::min(num_units(), begin + kUnitsAtOnce);
    std::vector<Continuation> work;
    for (int64_t unit = begin; unit < end; ++unit) {
      work.push_back(Labelled(prompt, prefix.id(), unit));
    }
    HEADWISE_ASSIGN_OR_RETURN(const std::vector<ContinuationResult> results,
                              runner.Run(std::move(work)));
    for (const ContinuationResult& result : results) {
      record.values.push_back(
          MeanSquaredDifference(full[0].hidden, result.hidden));
    }
  }
  const auto num_tail = static_cast<int64_t>(prompt.Tail().size());
  const auto num_prefix = static_cast<int64_t>(prompt.prefix.size());
  record.rows = num_prefix + (1 + num_units()) * num_tail;
  record.rows_without_reuse = (1 + num_units()) * (num_prefix + num_tail);
  return record;
}

absl::StatusOr<HeadScores> Ablation::Score(
    absl::Span<const TestRecord> records) const {
  HeadScores scores = EmptyScores("ablation", facts_);
  scores.units.resize(static_cast<size_t>(num_units()));
  for (const TestRecord& record : records) {
    for (size_t i = 0; i < scores.units.size(); ++i) {
      scores.units[i] += record.values[i] / static_cast<double>(records.size());
    }
  }
  return scores;
}

CalibrationReport Ablation::Report(const HeadScores& scores,
                                   absl::Span<const TestRecord> tests,
                                   absl::Span<const TestRecord> checks) const {
  CalibrationReport report;
  if (!checks.empty()) report = ReportStreams(checks);
  std::vector<Figure> figures = {
      {"tests", static_cast<double>(tests.size())},
      {"greatest_loss",
       *std::max_element(scores.units.begin(), scores.units.end())}};
  if (tests.size() > 1) {
    figures.push_back(
        {"rank_correlation_of_prompts",
         RankCorrelation(tests.front().values, tests.back().values)});
  }
  report.figures.insert(report.figures.begin(), figures.begin(), figures.end());
  return report;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeAblation(
    const AblationOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options, facts));
  HEADWISE_ASSIGN_OR_RETURN(Haystack haystack,
                            Haystack::Create(tokenizer, options.haystack));
  Draws draws(options.seed, 0);
  HEADWISE_RETURN_IF_ERROR(CheckRoom(
      MakePassKeysPrompt(haystack, options.length, options.num_needles,
                         options.num_words, draws),
      options.length));
  return std::make_unique<Ablation>(options, facts, std::move(haystack));
}

}  // namespace headwise
