#include "server/frontends/score_sink.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {

ScoreSink::ScoreSink(int64_t num_tokens, bool hash_logits, Done done)
    : num_tokens_(num_tokens),
      hash_logits_(hash_logits),
      done_(std::move(done)) {
  logprobs_.reserve(static_cast<size_t>(num_tokens));
}

void ScoreSink::OnRows(int64_t first_position, const SliceResult& outcome) {
  const size_t num_rows = outcome.score_logprobs.size();
  if (first_position != next_position_ ||
      (hash_logits_ && outcome.logits_digests.size() != num_rows)) {
    error_.Update(absl::InternalError(absl::StrCat(
        "rows of position ", first_position, " came where ", next_position_,
        " was next, with ", outcome.logits_digests.size(), " digests for ",
        num_rows, " rows")));
    return;
  }
  next_position_ += static_cast<int64_t>(num_rows);
  logprobs_.insert(logprobs_.end(), outcome.score_logprobs.begin(),
                   outcome.score_logprobs.end());
  if (!hash_logits_) return;
  for (const auto& digest : outcome.logits_digests) hash_.Update(digest);
}

absl::StatusOr<ScoreResult> ScoreSink::TakeResult() {
  if (!error_.ok()) return error_;
  if (next_position_ != num_tokens_) {
    return absl::InternalError(
        absl::StrCat("scored ", next_position_, " of ", num_tokens_, " rows"));
  }
  ScoreResult result;
  result.num_tokens = num_tokens_;
  // The last row has no next token to score.
  logprobs_.pop_back();
  result.logprobs = std::move(logprobs_);
  for (const float logprob : result.logprobs) result.nll -= logprob;
  result.perplexity =
      std::exp(result.nll / static_cast<double>(num_tokens_ - 1));
  if (hash_logits_) result.logits_sha256 = Sha256Hex(hash_.Finish());
  return result;
}

void ScoreSink::OnFinished(const absl::Status& status,
                           const RequestUsage& usage) {
  if (!status.ok()) {
    done_(status, usage);
    return;
  }
  done_(TakeResult(), usage);
}

}  // namespace headwise
