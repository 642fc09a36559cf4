#include "worker/attention/sink_search.h"

#include <algorithm>

#include "base/check.h"

namespace headwise {

void SinkSearch::Add(absl::Span<const float> probs) {
  HEADWISE_CHECK(probs.size() == sums_.size() + 1);
  sums_.push_back(0.0);
  for (size_t j = 0; j < probs.size(); ++j) sums_[j] += probs[j];
}

std::vector<int64_t> SinkSearch::Sinks(float threshold) const {
  std::vector<int64_t> sinks;
  for (int64_t j = 1; j < next_query(); ++j) {
    const int64_t votes = next_query() - std::max(j, first_query_);
    if (votes < kMinQueries) break;
    if (sums_[j] / static_cast<double>(votes) > threshold) sinks.push_back(j);
  }
  return sinks;
}

}  // namespace headwise
