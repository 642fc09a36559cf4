// How fast requests are served, as measured, and what that forecasts.

#ifndef HEADWISE_SERVER_SCHEDULER_SERVICE_TIMES_H_
#define HEADWISE_SERVER_SCHEDULER_SERVICE_TIMES_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace headwise {

// Seconds (or tokens) for each of something, of which late ones count more.
class RecentRatio {
 public:
  // Counts for `memory` >= 1 of those that follow: each weighs 1 - 1 / memory
  // of the next.
  explicit RecentRatio(double memory) : kept_(1 - 1 / memory) {}

  void Add(double sum, double count);
  // nullopt: nothing has been added.
  std::optional<double> mean() const;

 private:
  double kept_;
  double sum_ = 0;
  double count_ = 0;
};

// What a request asks for, told in what takes time.
struct RequestWork {
  double prompt_cost = 0;      // RowCosts
  int64_t max_new_tokens = 0;  // 0: it ends with its prompt
};

// Measures steps and requests, and forecasts from that. What has not been
// measured takes no time. Times come from the caller, which makes it a function
// of calls; plain state, no thread, no clock.
class ServiceTimes {
 public:
  // A step was answered, `took` after it was sent or, if that was later, the
  // one before it was answered.
  void OnStep(double cost, absl::Duration took, absl::Time now);
  // Whether requests wait that can't begin, from `now` on.
  void OnQueue(bool stands, absl::Time now);
  // A request that ran has ended or was held: what of it was done, and how long
  // that took.
  struct Service {
    double prompt_cost = 0;
    absl::Duration prefill_time;
    int64_t generated_tokens = 0;
    absl::Duration decode_time;
    int64_t max_new_tokens = 0;
    bool is_whole = false;  // it ended by itself
  };
  void OnEnd(const Service& service, absl::Time now);

  // Until as many have ended as wait before a request, as long as none comes
  // that may pass it.
  absl::Duration QueueTime(int64_t num_before) const;
  // From when it begins to its first token, or its end if it has none: it can't
  // be quicker unless the workers are. A text may end with any token. What was
  // measured more than a minute ago is not believed: if it made us refuse all
  // that comes, nothing would show that it is no longer so.
  absl::Duration LeastTime(const RequestWork& work, absl::Time now) const;
  // From when it begins to its end, if it is served as others were.
  absl::Duration LikelyTime(const RequestWork& work) const;

 private:
  void Advance(absl::Time now);

  RecentRatio cost_seconds_{20};  // of steps with many rows
  absl::Time last_full_ = absl::InfinitePast();
  std::optional<absl::Duration> least_step_;
  absl::Time last_step_ = absl::InfinitePast();
  RecentRatio prompt_seconds_{20};  // by cost, of requests
  RecentRatio token_seconds_{20};
  RecentRatio text_tokens_{20};  // of max_new_tokens
  // Of the time in which the queue stood: seconds, and requests that ended.
  bool stands_ = false;
  absl::Time last_ = absl::InfinitePast();
  double standing_seconds_ = 0;
  double standing_ends_ = 0;
  int64_t num_standing_ends_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SERVICE_TIMES_H_
