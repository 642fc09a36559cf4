#include "server/calibration/retrieval.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/head_scores/plan_from_scores.h"
#include "server/calibration/key_value_prompt.h"
#include "server/calibration/mask_check.h"
#include "server/calibration/plan_contrast.h"

namespace headwise {
namespace {

constexpr size_t kMaxGridValues = 32;
constexpr int64_t kMaxNeedles = 32;
constexpr int64_t kMaxCheckTests = 256;
// Generation gives more than this part of the answer, or the test is left out.
constexpr double kMinRecall = 0.5;
// Streams of draws, so that tests and checks have nothing in common.
constexpr uint64_t kCheckStream = uint64_t{1} << 32;

// Of a prompt's fact.
struct Place {
  int64_t length;
  double depth;
  int64_t needle;  // a number; also its kind, where there are several
};

absl::Status CheckGrid(const RetrievalOptions& options,
                       const ModelFacts& facts) {
  if (options.lengths.empty() || options.lengths.size() > kMaxGridValues) {
    return absl::InvalidArgumentError(
        absl::StrCat("lengths: ", options.lengths.size(),
                     " were given, must be 1 to ", kMaxGridValues));
  }
  for (const int64_t length : options.lengths) {
    if (length < kMinPromptLen || length > facts.max_context_len) {
      return absl::InvalidArgumentError(
          absl::StrCat("lengths: ", length, " is outside [", kMinPromptLen,
                       ", ", facts.max_context_len, "]"));
    }
  }
  if (options.depths.empty() || options.depths.size() > kMaxGridValues) {
    return absl::InvalidArgumentError(
        absl::StrCat("depths: ", options.depths.size(),
                     " were given, must be 1 to ", kMaxGridValues));
  }
  for (const double depth : options.depths) {
    if (!(depth >= 0 && depth <= 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("depths: ", depth, " is outside [0, 1]"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const RetrievalOptions& options,
                          const ModelFacts& facts) {
  HEADWISE_RETURN_IF_ERROR(CheckGrid(options, facts));
  if (options.num_needles < 1 || options.num_needles > kMaxNeedles) {
    return absl::InvalidArgumentError(
        absl::StrCat("needles: ", options.num_needles, " is outside [1, ",
                     kMaxNeedles, "]"));
  }
  if (options.num_check_tests < 0 || options.num_check_tests > kMaxCheckTests) {
    return absl::InvalidArgumentError(
        absl::StrCat("check_tests: ", options.num_check_tests,
                     " is outside [0, ", kMaxCheckTests, "]"));
  }
  if (!(options.check_fraction > 0 && options.check_fraction <= 0.5)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "check_fraction: ", options.check_fraction, " is outside (0, 0.5]"));
  }
  const int64_t num_tests =
      static_cast<int64_t>(options.lengths.size() * options.depths.size()) *
      options.num_needles;
  if (num_tests > kMaxRetrievalTests) {
    return absl::InvalidArgumentError(
        absl::StrCat("lengths x depths x needles: ", num_tests,
                     " tests, limit ", kMaxRetrievalTests));
  }
  return absl::OkStatus();
}

const char* NameOf(RetrievalTask task) {
  return task == RetrievalTask::kKeyValue ? "key-value" : "retrieval";
}

NeedlePrompt MakePrompt(RetrievalTask task, const Haystack& haystack,
                        const Place& place, Draws& draws) {
  if (task == RetrievalTask::kKeyValue) {
    return MakeKeyValuePrompt(haystack, place.length, place.depth, draws);
  }
  return MakeNeedlePrompt(haystack, place.length, place.depth, place.needle,
                          draws);
}

std::string TextSha256(absl::string_view text) {
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(text.data()), text.size())));
}

// Values of a record: what the gate looks at, then `once` of each query head,
// then `repeated` of each.
constexpr int64_t kRecallValue = 0;
constexpr int64_t kLogprobValue = 1;
constexpr int64_t kFirstHit = 2;

class Retrieval final : public CalibrationMethod {
 public:
  Retrieval(const RetrievalOptions& options, const ModelFacts& facts,
            Haystack haystack)
      : options_(options), facts_(facts), haystack_(std::move(haystack)) {
    for (const int64_t length : options.lengths) {
      for (const double depth : options.depths) {
        for (int64_t needle = 0; needle < options.num_needles; ++needle) {
          places_.push_back({length, depth, needle});
        }
      }
    }
  }

  nlohmann::ordered_json manifest() const override {
    nlohmann::ordered_json json =
        ManifestOf(NameOf(options_.task), facts_, options_.seed);
    json["lengths"] = options_.lengths;
    json["depths"] = options_.depths;
    json["needles"] = options_.num_needles;
    json["check_tests"] = options_.num_check_tests;
    json["check_fraction"] = options_.check_fraction;
    json["haystack_sha256"] =
        options_.haystack.empty() ? "" : TextSha256(options_.haystack);
    return json;
  }

  std::vector<TestSpec> tests() const override;
  absl::StatusOr<TestRecord> RunTest(int64_t index,
                                     ModelRunner& runner) const override;
  absl::StatusOr<HeadScores> Score(
      absl::Span<const TestRecord> records) const override;

  std::vector<TestSpec> checks() const override;
  absl::StatusOr<TestRecord> RunCheck(int64_t index, const HeadScores& scores,
                                      ModelRunner& runner) const override;
  CalibrationReport Report(const HeadScores& scores,
                           absl::Span<const TestRecord> tests,
                           absl::Span<const TestRecord> checks) const override;

 private:
  static bool Retrieved(const TestRecord& record) {
    return record.values[kRecallValue] > kMinRecall;
  }
  int64_t CheckedHeads() const {
    return std::max<int64_t>(
        1, CountOfFraction(options_.check_fraction, facts_.all_heads()));
  }
  // Means over records that pass the gate: of `once`, or of `repeated`.
  std::vector<double> MeanHits(const std::vector<const TestRecord*>& records,
                               int64_t first) const;
  void AddStability(absl::Span<const TestRecord> tests,
                    std::vector<Figure>& figures) const;

  const RetrievalOptions options_;
  const ModelFacts facts_;
  const Haystack haystack_;
  std::vector<Place> places_;
};

std::vector<TestSpec> Retrieval::tests() const {
  std::vector<TestSpec> specs;
  for (const Place& place : places_) {
    specs.push_back(
        {.id = absl::StrCat(NameOf(options_.task), "/", place.length, "/",
                            place.depth, "/", place.needle),
         .rows = place.length,
         .num_values = kFirstHit + 2 * facts_.all_heads()});
  }
  return specs;
}

absl::StatusOr<TestRecord> Retrieval::RunTest(int64_t index,
                                              ModelRunner& runner) const {
  const Place& place = places_[static_cast<size_t>(index)];
  Draws draws(options_.seed, static_cast<uint64_t>(index));
  const NeedlePrompt prompt =
      MakePrompt(options_.task, haystack_, place, draws);
  HEADWISE_ASSIGN_OR_RETURN(const ScopedPrefix prefix,
                            ScopedPrefix::Create(runner, prompt.prefix));
  const auto num_answer = static_cast<int64_t>(prompt.answer.size());
  Continuation given;
  given.prefix = prefix.id();
  given.tokens = prompt.Tail();
  given.probe.argmax = true;
  Continuation free;
  free.prefix = prefix.id();
  free.tokens = prompt.question;
  free.want = Continuation::Want::kTokens;
  free.num_tokens = num_answer;
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<ContinuationResult> results,
                            runner.Run({std::move(given), std::move(free)}));

  TestRecord record;
  record.id = tests()[static_cast<size_t>(index)].id;
  double logprob = 0;
  const std::vector<float>& logprobs = results[0].logprobs;
  for (size_t i = logprobs.size() - prompt.answer.size(); i < logprobs.size();
       ++i) {
    logprob += logprobs[i] / static_cast<double>(num_answer);
  }
  record.values = {TokenRecall(prompt.answer, results[1].generated), logprob};
  std::vector<double> repeated;
  for (const HeadProbe& probe : results[0].probes) {
    // The rows that predict the answer: from the question's last one on.
    const HeadHits hits = CountHits(
        prompt, absl::MakeConstSpan(probe.argmax)
                    .subspan(prompt.question.size() - 1, prompt.answer.size()));
    record.values.push_back(hits.once);
    repeated.push_back(hits.repeated);
  }
  record.values.insert(record.values.end(), repeated.begin(), repeated.end());
  const auto num_question = static_cast<int64_t>(prompt.question.size());
  record.rows = prompt.num_tokens() + num_question + num_answer;
  record.rows_without_reuse = facts_.all_heads() * prompt.num_tokens();
  return record;
}

std::vector<double> Retrieval::MeanHits(
    const std::vector<const TestRecord*>& records, int64_t first) const {
  std::vector<double> means(static_cast<size_t>(facts_.all_heads()), 0.0);
  for (const TestRecord* record : records) {
    for (size_t i = 0; i < means.size(); ++i) {
      means[i] += record->values[static_cast<size_t>(first) + i];
    }
  }
  for (double& mean : means) mean /= static_cast<double>(records.size());
  return means;
}

absl::StatusOr<HeadScores> Retrieval::Score(
    absl::Span<const TestRecord> records) const {
  std::vector<const TestRecord*> retrieved;
  for (const TestRecord& record : records) {
    if (Retrieved(record)) retrieved.push_back(&record);
  }
  if (retrieved.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the model found none of ", records.size(),
        options_.task == RetrievalTask::kKeyValue ? " values" : " needles",
        ", so nothing can be said of its heads; try shorter lengths, "
        "or method echo, which needs no command of language"));
  }
  HeadScores scores = EmptyScores(NameOf(options_.task), facts_);
  scores.heads = MeanHits(retrieved, kFirstHit);
  scores.details["repeated"] =
      MeanHits(retrieved, kFirstHit + facts_.all_heads());
  scores.units =
      MaxOverGroups(scores.heads, facts_.num_heads / facts_.num_kv_heads);
  return scores;
}

std::vector<TestSpec> Retrieval::checks() const {
  std::vector<TestSpec> specs;
  for (int64_t i = 0; i < options_.num_check_tests; ++i) {
    specs.push_back(
        {.id = absl::StrCat("check/", i),
         .rows =
             options_.lengths[static_cast<size_t>(i) % options_.lengths.size()],
         .num_values = kNumMaskVariants * kNumQualities});
  }
  return specs;
}

absl::StatusOr<TestRecord> Retrieval::RunCheck(int64_t index,
                                               const HeadScores& scores,
                                               ModelRunner& runner) const {
  const TestSpec spec = checks()[static_cast<size_t>(index)];
  const auto place = static_cast<size_t>(index) / options_.lengths.size();
  Draws draws(options_.seed, kCheckStream + static_cast<uint64_t>(index));
  const NeedlePrompt prompt =
      MakePrompt(options_.task, haystack_,
                 {.length = spec.rows,
                  .depth = options_.depths[place % options_.depths.size()],
                  .needle = index},
                 draws);
  return RunContrast(spec.id, prompt,
                     MaskVariants(scores, CheckedHeads(), options_.seed),
                     runner);
}

// How much of the best heads does not depend on which tests were run: of the
// tests with even and with odd numbers, and of the shortest and the longest
// length.
void Retrieval::AddStability(absl::Span<const TestRecord> tests,
                             std::vector<Figure>& figures) const {
  std::vector<const TestRecord*> halves[2];
  std::map<int64_t, std::vector<const TestRecord*>> by_length;
  for (size_t i = 0; i < tests.size(); ++i) {
    if (!Retrieved(tests[i])) continue;
    std::vector<const TestRecord*>& smaller =
        halves[halves[0].size() > halves[1].size() ? 1 : 0];
    smaller.push_back(&tests[i]);
    by_length[places_[i].length].push_back(&tests[i]);
  }
  const auto overlap = [&](const std::vector<const TestRecord*>& a,
                           const std::vector<const TestRecord*>& b) {
    return TopOverlap(MeanHits(a, kFirstHit), MeanHits(b, kFirstHit),
                      CheckedHeads());
  };
  if (!halves[1].empty()) {
    figures.push_back({"top_overlap_of_halves", overlap(halves[0], halves[1])});
  }
  if (by_length.size() > 1) {
    figures.push_back(
        {"top_overlap_of_lengths",
         overlap(by_length.begin()->second, by_length.rbegin()->second)});
  }
}

CalibrationReport Retrieval::Report(const HeadScores& scores,
                                    absl::Span<const TestRecord> tests,
                                    absl::Span<const TestRecord> checks) const {
  CalibrationReport report;
  if (!checks.empty()) report = ReportMasks(checks, CheckedHeads());
  const auto share = [&](auto of) {
    return static_cast<double>(
               std::count_if(scores.heads.begin(), scores.heads.end(), of)) /
           static_cast<double>(scores.heads.size());
  };
  std::vector<Figure> figures = {
      {"tests", static_cast<double>(tests.size())},
      {"tests_retrieved", static_cast<double>(std::count_if(
                              tests.begin(), tests.end(), Retrieved))},
      {"heads_above_0.1", share([](double score) { return score > 0.1; })},
      {"heads_at_0", share([](double score) { return score == 0; })}};
  AddStability(tests, figures);
  report.figures.insert(report.figures.begin(), figures.begin(), figures.end());
  return report;
}

}  // namespace

HeadHits CountHits(const NeedlePrompt& prompt,
                   absl::Span<const int32_t> positions) {
  const std::set<int64_t> needle(prompt.needle.begin(), prompt.needle.end());
  std::set<int64_t> seen;
  int64_t hits = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    const int64_t position = positions[i];
    if (needle.count(position) == 0 ||
        prompt.prefix[static_cast<size_t>(position)] != prompt.answer[i]) {
      continue;
    }
    ++hits;
    seen.insert(position);
  }
  const auto size = static_cast<double>(needle.size());
  return {.once = static_cast<double>(seen.size()) / size,
          .repeated = static_cast<double>(hits) / size};
}

absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeRetrieval(
    const RetrievalOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer) {
  Draws draws(options.seed, 0);
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options, facts));
  HEADWISE_ASSIGN_OR_RETURN(Haystack haystack,
                            Haystack::Create(tokenizer, options.haystack));
  const int64_t length =
      *std::min_element(options.lengths.begin(), options.lengths.end());
  for (int64_t kind = 0; kind < kNumNeedleKinds; ++kind) {
    const Place place = {.length = length, .depth = 0, .needle = kind};
    HEADWISE_RETURN_IF_ERROR(
        CheckRoom(MakePrompt(options.task, haystack, place, draws), length));
  }
  return std::make_unique<Retrieval>(options, facts, std::move(haystack));
}

}  // namespace headwise
