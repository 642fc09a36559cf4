#include "server/calibration/echo.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_scores/plan_from_scores.h"
#include "server/calibration/draws.h"

namespace headwise {
namespace {

constexpr int64_t kMinBlock = 16;
constexpr int64_t kMaxTests = 64;
constexpr double kEchoFraction = 0.01;
constexpr double kInductionFraction = 0.14;

absl::Status CheckOptions(const EchoOptions& options, const ModelFacts& facts) {
  if (options.copies < 2 || options.copies > kMaxDistancesPerSet) {
    return absl::InvalidArgumentError(absl::StrCat("copies: ", options.copies,
                                                   " is outside [2, ",
                                                   kMaxDistancesPerSet, "]"));
  }
  // One place is bos's.
  const int64_t max_block = (facts.max_context_len - 1) / options.copies;
  if (options.block < kMinBlock || options.block > max_block) {
    return absl::InvalidArgumentError(
        absl::StrCat("block: ", options.block, " is outside [", kMinBlock, ", ",
                     max_block, "] for ", options.copies, " copies"));
  }
  if (options.num_tests < 1 || options.num_tests > kMaxTests) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tests: ", options.num_tests, " is outside [1, ", kMaxTests, "]"));
  }
  return absl::OkStatus();
}

class Echo final : public CalibrationMethod {
 public:
  Echo(const EchoOptions& options, const ModelFacts& facts,
       const Tokenizer& tokenizer)
      : options_(options), facts_(facts), bos_(tokenizer.bos_id()) {
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (!tokenizer.IsSpecial(id)) ordinary_.push_back(id);
    }
  }

  bool has_tokens() const { return !ordinary_.empty(); }

  nlohmann::ordered_json manifest() const override {
    nlohmann::ordered_json json = ManifestOf("echo", facts_, options_.seed);
    json["block"] = options_.block;
    json["copies"] = options_.copies;
    json["tests"] = options_.num_tests;
    return json;
  }

  // Values of a record: the induction score of each query head, then the echo
  // score of each.
  std::vector<TestSpec> tests() const override {
    std::vector<TestSpec> specs;
    for (int64_t i = 0; i < options_.num_tests; ++i) {
      specs.push_back({.id = absl::StrCat("echo/", i),
                       .rows = num_rows(),
                       .num_values = 2 * facts_.all_heads()});
    }
    return specs;
  }
  absl::StatusOr<TestRecord> RunTest(int64_t index,
                                     ModelRunner& runner) const override;
  absl::StatusOr<HeadScores> Score(
      absl::Span<const TestRecord> records) const override;

  std::vector<TestSpec> checks() const override { return {}; }
  absl::StatusOr<TestRecord> RunCheck(int64_t, const HeadScores&,
                                      ModelRunner&) const override {
    return absl::InternalError("method echo has no check");
  }
  CalibrationReport Report(const HeadScores& scores,
                           absl::Span<const TestRecord> tests,
                           absl::Span<const TestRecord> checks) const override;

 private:
  int64_t num_rows() const {
    return options_.block * options_.copies + (bos_ >= 0 ? 1 : 0);
  }
  std::vector<int32_t> Text(int64_t index) const;

  const EchoOptions options_;
  const ModelFacts facts_;
  const int32_t bos_;
  std::vector<int32_t> ordinary_;  // ids of the vocabulary
};

std::vector<int32_t> Echo::Text(int64_t index) const {
  Draws draws(options_.seed, static_cast<uint64_t>(index));
  std::vector<int32_t> block;
  for (int64_t i = 0; i < options_.block; ++i) {
    block.push_back(draws.Of(ordinary_));
  }
  std::vector<int32_t> text;
  if (bos_ >= 0) text.push_back(bos_);
  for (int64_t copy = 0; copy < options_.copies; ++copy) {
    text.insert(text.end(), block.begin(), block.end());
  }
  return text;
}

absl::StatusOr<TestRecord> Echo::RunTest(int64_t index,
                                         ModelRunner& runner) const {
  Continuation work;
  work.tokens = Text(index);
  std::vector<int64_t> induction, echo;
  for (int64_t m = 1; m < options_.copies; ++m) {
    induction.push_back(m * options_.block - 1);
    echo.push_back(m * options_.block);
  }
  work.probe.distance_sets = {std::move(induction), std::move(echo)};
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<ContinuationResult> results,
                            runner.Run({std::move(work)}));

  const auto num_heads = static_cast<size_t>(facts_.all_heads());
  const auto rows = static_cast<size_t>(num_rows());
  const size_t first_row =
      rows - static_cast<size_t>(options_.block * (options_.copies - 1));
  TestRecord record;
  record.id = tests()[static_cast<size_t>(index)].id;
  record.values.resize(2 * num_heads);
  for (size_t head = 0; head < num_heads; ++head) {
    const std::vector<float>& probs = results[0].probes[head].distance_probs;
    for (size_t set = 0; set < 2; ++set) {
      double sum = 0;
      for (size_t row = first_row; row < rows; ++row) {
        sum += probs[set * rows + row];
      }
      record.values[set * num_heads + head] =
          sum / static_cast<double>(rows - first_row);
    }
  }
  record.rows = num_rows();
  record.rows_without_reuse = num_rows() * facts_.all_heads();
  return record;
}

absl::StatusOr<HeadScores> Echo::Score(
    absl::Span<const TestRecord> records) const {
  const auto num_heads = static_cast<size_t>(facts_.all_heads());
  std::vector<double> means(2 * num_heads, 0.0);
  for (const TestRecord& record : records) {
    for (size_t i = 0; i < means.size(); ++i) {
      means[i] += record.values[i] / static_cast<double>(records.size());
    }
  }
  HeadScores scores = EmptyScores("echo", facts_);
  const auto middle = means.begin() + static_cast<std::ptrdiff_t>(num_heads);
  std::vector<double> induction(means.begin(), middle);
  std::vector<double> echo(middle, means.end());
  const int64_t group = facts_.num_heads / facts_.num_kv_heads;
  const std::vector<double> echo_units = MaxOverGroups(echo, group);
  std::vector<int64_t> best = RankByScore(echo_units);
  best.resize(static_cast<size_t>(std::max<int64_t>(
      1, CountOfFraction(kEchoFraction, facts_.all_units()))));
  scores.heads = induction;
  for (const int64_t unit : best) {
    for (int64_t head = unit * group; head < (unit + 1) * group; ++head) {
      const auto i = static_cast<size_t>(head);
      if (echo[i] == echo_units[static_cast<size_t>(unit)]) {
        scores.heads[i] = 1 + echo[i];
      }
    }
  }
  scores.units = MaxOverGroups(scores.heads, group);
  scores.details["induction"] = std::move(induction);
  scores.details["echo"] = std::move(echo);
  return scores;
}

CalibrationReport Echo::Report(const HeadScores& scores,
                               absl::Span<const TestRecord> tests,
                               absl::Span<const TestRecord>) const {
  const int64_t group = facts_.num_heads / facts_.num_kv_heads;
  const auto units_of = [&](const TestRecord& record) {
    return MaxOverGroups(absl::MakeConstSpan(record.values)
                             .first(static_cast<size_t>(facts_.all_heads())),
                         group);
  };
  const int64_t count = std::max<int64_t>(
      1, CountOfFraction(kInductionFraction, facts_.all_units()));
  const std::vector<double>& induction = scores.details.at("induction");
  const std::vector<double>& echo = scores.details.at("echo");
  CalibrationReport report;
  report.figures = {
      {"tests", static_cast<double>(tests.size())},
      {"best_induction", *std::max_element(induction.begin(), induction.end())},
      {"best_echo", *std::max_element(echo.begin(), echo.end())}};
  if (tests.size() > 1) {
    report.figures.push_back(
        {"top_overlap_of_draws",
         TopOverlap(units_of(tests.front()), units_of(tests.back()), count)});
  }
  return report;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeEcho(
    const EchoOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options, facts));
  auto method = std::make_unique<Echo>(options, facts, tokenizer);
  if (!method->has_tokens()) {
    return absl::FailedPreconditionError(
        "the vocabulary has no ordinary token to draw");
  }
  return method;
}

}  // namespace headwise
