// Which positions draw attention from everywhere.

#ifndef HEADWISE_WORKER_ATTENTION_SINK_SEARCH_H_
#define HEADWISE_WORKER_ATTENTION_SINK_SEARCH_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace headwise {

// Column sums of one query head's attention (ACT, Yu et al., arXiv 2406.15765):
// position j is a sink if the mean of its probability over the queries that can
// see it exceeds a threshold. Position 0, the natural one, is spared, and
// positions seen by fewer than kMinQueries are not judged.
//
// Deviation: the paper looks at the whole prompt before it calibrates any of
// it. Here a query is calibrated by the whole blocks of kBlock queries before
// its own, so that its bits don't depend on how the prompt was cut.
class SinkSearch {
 public:
  static constexpr int64_t kBlock = 16;      // queries
  static constexpr int64_t kMinQueries = 8;  // the paper: 1

  // Queries before `first_query` have no vote: those of a prefix that ran
  // under another plan.
  explicit SinkSearch(int64_t first_query = 0)
      : first_query_(first_query),
        sums_(static_cast<size_t>(first_query), 0.0) {}

  // The next query's probabilities of all positions up to its own.
  void Add(absl::Span<const float> probs);
  // The position of the next query.
  int64_t next_query() const { return static_cast<int64_t>(sums_.size()); }

  // Ascending. O(next_query).
  std::vector<int64_t> Sinks(float threshold) const;

  // All that it remembers, to be put away and taken up again.
  struct State {
    int64_t first_query = 0;   // at most the number of sums
    std::vector<double> sums;  // by position, over queries in order
  };
  State state() const { return {first_query_, sums_}; }
  explicit SinkSearch(State state)
      : first_query_(state.first_query), sums_(std::move(state.sums)) {}

 private:
  int64_t first_query_;
  std::vector<double> sums_;  // by position, over queries in order
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_ATTENTION_SINK_SEARCH_H_
