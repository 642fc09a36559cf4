// The part of the scheduler that says what would fit.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/scheduler/admission.h"
#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

absl::Status CheckQuestion(const SizeQuestion& question) {
  if (question.prompt_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt_tokens is ", question.prompt_tokens, ", must be 1 or more"));
  }
  if (question.max_new_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_new_tokens is ", question.max_new_tokens, ", must be 0 or more"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SizeAnswer> Scheduler::AskSize(
    const SizeQuestion& question) const {
  if (suspended_.has_value()) return *suspended_;
  HEADWISE_RETURN_IF_ERROR(CheckQuestion(question));
  const AdmissionTerms terms = {.needs = needs_,
                                .max_context_len = options_.max_context_len};
  HEADWISE_ASSIGN_OR_RETURN(const KvRoom whole, FindRoom(question, terms));
  SizeAnswer answer;
  answer.rank = whole.rank;
  answer.needed_bytes = whole.needed_bytes[whole.rank];
  answer.available_bytes = kv_.capacity()[whole.rank];
  answer.longest_context = LongestThatFits(question.plan.get(), terms);
  if (!whole.fits) {
    answer.reason =
        absl::StrCat("it needs a context of ", whole.length, " tokens and ",
                     answer.needed_bytes, " bytes of KV on rank ", answer.rank,
                     "; there are ", answer.available_bytes,
                     " bytes, and the longest context that fits is ",
                     answer.longest_context, " tokens");
    return answer;
  }
  answer.verdict = SizeAnswer::Verdict::kLater;
  answer.available_bytes -= kv_.used()[whole.rank];
  answer.retry_after = RetryTime(static_cast<int64_t>(waiting_.size()) + 1);
  if (!waiting_.empty()) {
    answer.reason = absl::StrCat(waiting_.size(), " requests wait before it, ",
                                 options_.max_queued_requests, " may");
  } else if (static_cast<int64_t>(running_.size()) >= max_running_) {
    answer.reason =
        absl::StrCat(running_.size(), " requests run, ", max_running_, " may");
  } else if (!kv_.Fits(whole.needed_bytes)) {
    answer.retry_after = std::max(answer.retry_after, kAskAgainLater);
    answer.reason = absl::StrCat(
        "it needs ", answer.needed_bytes, " bytes of KV on rank ", answer.rank,
        ", ", answer.available_bytes, " are not promised to others now");
  } else {
    answer.verdict = SizeAnswer::Verdict::kNow;
    answer.retry_after = absl::ZeroDuration();
  }
  return answer;
}

}  // namespace headwise
