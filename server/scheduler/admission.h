// Whether a request can ever run.

#ifndef HEADWISE_SERVER_SCHEDULER_ADMISSION_H_
#define HEADWISE_SERVER_SCHEDULER_ADMISSION_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/held_prefixes.h"
#include "server/scheduler/kv_needs.h"
#include "server/scheduler/size_answer.h"

namespace headwise {

// Positions that the request adds at its longest; near 2^63 saturated. Counts
// the last token too, although its KV is never written.
int64_t NeededTokens(const EngineRequest& request);

// What a request is admitted against.
struct AdmissionTerms {
  const KvNeeds& needs;
  int64_t max_context_len = 0;  // the model's; a plan may allow more
  // The request's, if it is a fork, and what that one and those before it have
  // reserved, by rank.
  const HeldPrefix* prefix = nullptr;
  std::vector<int64_t> prefix_bytes;
};

// How a request would lie in the whole of the caches, at its longest.
struct KvRoom {
  bool fits = false;
  int64_t length = 0;                 // positions
  std::vector<int64_t> needed_bytes;  // by rank
  size_t rank = 0;                    // the scarcest for it
};
// InvalidArgument or Unimplemented: a plan that can't be served. Landmarks are
// not looked at: there are no tokens.
absl::StatusOr<KvRoom> FindRoom(const SizeQuestion& question,
                                const AdmissionTerms& terms);
// Tokens of the longest sequence that can be under that plan.
int64_t LongestThatFits(const HeadPlan* plan, const AdmissionTerms& terms);

// Bytes that the request needs on each rank. InvalidArgument for an empty
// prompt, no tokens to generate, a plan or a probe that can't be served;
// OutOfRange, with needed and available bytes and the longest context that fits
// under its plan, for what exceeds the model's context or the whole of the
// caches, its prefix included.
absl::StatusOr<std::vector<int64_t>> Admit(const EngineRequest& request,
                                           const AdmissionTerms& terms);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ADMISSION_H_
