// Collects the rows of a Score request into its answer.

#ifndef HEADWISE_SERVER_FRONTENDS_SCORE_SINK_H_
#define HEADWISE_SERVER_FRONTENDS_SCORE_SINK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct ScoreResult {
  int64_t num_tokens = 0;
  std::vector<float> logprobs;  // [num_tokens - 1], natural log
  double nll = 0.0;             // summed in double, in order of position
  double perplexity = 0.0;      // exp(nll / (num_tokens - 1))
  std::string logits_sha256;    // empty: not asked for
};

// Called by the engine's thread alone.
class ScoreSink final : public RequestSink {
 public:
  using Done =
      std::function<void(absl::StatusOr<ScoreResult>, const RequestUsage&)>;
  ScoreSink(int64_t num_tokens, bool hash_logits, Done done);

  void OnRows(int64_t first_position, const SliceResult& outcome) override;
  // Internal if a row or a digest is missing: a wrong hash must not look right.
  void OnFinished(const absl::Status& status,
                  const RequestUsage& usage) override;

 private:
  absl::StatusOr<ScoreResult> TakeResult();

  const int64_t num_tokens_;
  const bool hash_logits_;
  const Done done_;
  int64_t next_position_ = 0;
  absl::Status error_;  // of the rows so far
  std::vector<float> logprobs_;
  Sha256 hash_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SCORE_SINK_H_
