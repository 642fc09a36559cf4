// What plans do to answers: the same held text, the same question, one plan
// after the other.

#ifndef HEADWISE_SERVER_CALIBRATION_PLAN_CONTRAST_H_
#define HEADWISE_SERVER_CALIBRATION_PLAN_CONTRAST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/calibration/calibration_method.h"
#include "server/calibration/model_runner.h"
#include "server/calibration/needle_prompt.h"

namespace headwise {

using Variants = std::vector<std::shared_ptr<const HeadPlan>>;

struct AnswerQuality {
  double logprob = 0.0;  // of the true answer's tokens, their mean
  double accuracy =
      0.0;              // 1: greedy generation gives the answer, token by token
  double recall = 0.0;  // part of its tokens that generation gives (ROUGE-1)
};
inline constexpr int64_t kNumQualities = 3;

// The part of `answer`'s tokens, as a bag, that is in `generated`.
double TokenRecall(absl::Span<const int32_t> answer,
                   absl::Span<const int32_t> generated);

// Runs the prompt's prefix once, with every unit full, then question and answer
// under each plan. The record has kNumQualities values for each variant.
absl::StatusOr<TestRecord> RunContrast(std::string id,
                                       const NeedlePrompt& prompt,
                                       const Variants& variants,
                                       ModelRunner& runner);

// The mean of each variant over records of RunContrast, of which there is one
// or more.
std::vector<AnswerQuality> MeanQualities(absl::Span<const TestRecord> records);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_PLAN_CONTRAST_H_
