// Whether a request of some size would be taken: question and answer.

#ifndef HEADWISE_SERVER_SCHEDULER_SIZE_ANSWER_H_
#define HEADWISE_SERVER_SCHEDULER_SIZE_ANSWER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// Of a request that begins with no prefix.
struct SizeQuestion {
  int64_t prompt_tokens = 0;             // 1 or more
  int64_t max_new_tokens = 0;            // 0: none
  std::shared_ptr<const HeadPlan> plan;  // as EngineRequest::plan
};

struct SizeAnswer {
  enum class Verdict {
    kNow,    // it would begin with the next step
    kLater,  // it would wait, or be refused since the queue is full
    kNever,  // it can't fit
  };
  Verdict verdict = Verdict::kNever;
  absl::Duration retry_after;  // kLater: when to ask again
  // On the rank that is the scarcest for it.
  size_t rank = 0;
  int64_t needed_bytes = 0;
  int64_t available_bytes = 0;  // kNever: of empty caches; else not promised
  int64_t longest_context = 0;  // tokens, once nothing else runs
  std::string reason;           // kLater, kNever
};

// The queue moves when a request ends: within about a second for short ones.
inline constexpr absl::Duration kAskAgainSoon = absl::Seconds(1);
// Memory is freed by what runs longest.
inline constexpr absl::Duration kAskAgainLater = absl::Seconds(5);
// Whatever a forecast says: others may leave.
inline constexpr absl::Duration kAskAgainAtLast = absl::Minutes(1);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SIZE_ANSWER_H_
