// What callers heard while faults struck, and whether it is what was promised.

#ifndef HEADWISE_TESTS_CLUSTER_HISTORY_H_
#define HEADWISE_TESTS_CLUSTER_HISTORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "headwise/v1/inference.grpc.pb.h"

namespace headwise {

struct HeardToken {
  int32_t token = 0;
  absl::Time at;  // monotonic
};

// One request to Generate and all that its caller heard.
struct HeardAnswer {
  std::string request_hash;  // SHA-256 of prompt and options, the seed included
  std::string prompt_hash;
  uint64_t seed = 0;
  absl::Time asked_at;  // monotonic
  absl::Time ended_at;
  std::vector<HeardToken> tokens;
  std::string text;
  int64_t num_finished = 0;         // messages that say the answer is whole
  bool heard_after_end = false;     // a token after such a message
  std::optional<grpc::Status> end;  // none: still open

  bool is_whole() const { return end.has_value() && end->ok(); }
};

// Records requests, of any number of threads, and checks them by the
// invariants of docs/reliability.md that can be seen from outside. A check
// returns one line for each violation; empty: all hold.
class History {
 public:
  struct Asking {
    absl::Duration timeout = absl::Minutes(2);
    // After each token, with their number so far; it may cancel the context.
    std::function<void(size_t, grpc::ClientContext&)> on_token;
  };

  // Asks, reads to the end and returns what was recorded.
  HeardAnswer Generate(v1::Inference::Stub& stub,
                       const v1::GenerateRequest& request,
                       const Asking& asking);
  HeardAnswer Generate(v1::Inference::Stub& stub,
                       const v1::GenerateRequest& request) {
    return Generate(stub, request, Asking());
  }

  void Add(HeardAnswer answer);

  // I1: each answer has the tokens and the text that the whole answer to the
  // same request in `fault_free` has; one that ended early, a beginning of
  // them. A request that was not asked there is a violation.
  std::vector<std::string> CheckTokens(const History& fault_free) const;
  // I2: each request has ended, with one status: OK after one Finished and
  // nothing more, or an error without one.
  std::vector<std::string> CheckEnds() const;
  // I4: no KV is held any more. `page`: of /metrics.
  static std::vector<std::string> CheckBaseline(const std::string& page);
  // I6: requests by code are those of the history, and tokens too: as many as
  // were heard where all answers are whole, else at least so many. A caller
  // that gave up is DEADLINE_EXCEEDED or CANCELLED on either side.
  std::vector<std::string> CheckMetrics(const std::string& page) const;

  // All of them.
  std::vector<std::string> Check(const History& fault_free,
                                 const std::string& page) const;

  std::vector<HeardAnswer> answers() const;

 private:
  mutable absl::Mutex mutex_;
  // A failed request that never reached the server is recorded too.
  std::vector<HeardAnswer> answers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_HISTORY_H_
