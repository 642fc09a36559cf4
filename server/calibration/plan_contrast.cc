#include "server/calibration/plan_contrast.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "base/status_macros.h"

namespace headwise {
namespace {

void AddVariant(const NeedlePrompt& prompt, uint64_t prefix,
                const std::shared_ptr<const HeadPlan>& plan,
                std::vector<Continuation>& work) {
  Continuation given;
  given.prefix = prefix;
  given.tokens = prompt.Tail();
  given.plan = plan;
  work.push_back(std::move(given));
  Continuation free;
  free.prefix = prefix;
  free.tokens = prompt.question;
  free.plan = plan;
  free.want = Continuation::Want::kTokens;
  free.num_tokens = static_cast<int64_t>(prompt.answer.size());
  work.push_back(std::move(free));
}

AnswerQuality QualityOf(const NeedlePrompt& prompt,
                        const ContinuationResult& given,
                        const ContinuationResult& free) {
  AnswerQuality quality;
  const size_t num_answer = prompt.answer.size();
  quality.logprob = std::accumulate(
      given.logprobs.end() - static_cast<std::ptrdiff_t>(num_answer),
      given.logprobs.end(), 0.0);
  quality.logprob /= static_cast<double>(num_answer);
  quality.accuracy = free.generated == prompt.answer ? 1.0 : 0.0;
  quality.recall = TokenRecall(prompt.answer, free.generated);
  return quality;
}

}  // namespace

double TokenRecall(absl::Span<const int32_t> answer,
                   absl::Span<const int32_t> generated) {
  std::map<int32_t, int64_t> left;
  for (const int32_t token : generated) ++left[token];
  int64_t found = 0;
  for (const int32_t token : answer) found += left[token]-- > 0 ? 1 : 0;
  return static_cast<double>(found) / static_cast<double>(answer.size());
}

absl::StatusOr<TestRecord> RunContrast(std::string id,
                                       const NeedlePrompt& prompt,
                                       const Variants& variants,
                                       ModelRunner& runner) {
  HEADWISE_ASSIGN_OR_RETURN(const ScopedPrefix prefix,
                            ScopedPrefix::Create(runner, prompt.prefix));
  std::vector<Continuation> work;
  for (const auto& plan : variants) {
    AddVariant(prompt, prefix.id(), plan, work);
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<ContinuationResult> results,
                            runner.Run(std::move(work)));
  TestRecord record;
  record.id = std::move(id);
  const auto num_variants = static_cast<int64_t>(variants.size());
  const auto num_answer = static_cast<int64_t>(prompt.answer.size());
  const auto num_question = static_cast<int64_t>(prompt.question.size());
  const int64_t tail = 2 * (num_question + num_answer);
  const auto num_prefix = static_cast<int64_t>(prompt.prefix.size());
  record.rows = num_prefix + num_variants * tail;
  record.rows_without_reuse = num_variants * (2 * num_prefix + tail);
  for (size_t i = 0; i < results.size(); i += 2) {
    const AnswerQuality quality = QualityOf(prompt, results[i], results[i + 1]);
    record.values.insert(record.values.end(),
                         {quality.logprob, quality.accuracy, quality.recall});
  }
  return record;
}

std::vector<AnswerQuality> MeanQualities(absl::Span<const TestRecord> records) {
  std::vector<double> sums(records[0].values.size(), 0.0);
  for (const TestRecord& record : records) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += record.values[i];
  }
  const auto count = static_cast<double>(records.size());
  std::vector<AnswerQuality> means;
  for (size_t i = 0; i + kNumQualities <= sums.size(); i += kNumQualities) {
    means.push_back({.logprob = sums[i] / count,
                     .accuracy = sums[i + 1] / count,
                     .recall = sums[i + 2] / count});
  }
  return means;
}

}  // namespace headwise
