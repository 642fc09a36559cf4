// How fast a job goes, and what each of its documents costs.

#ifndef HEADWISE_SERVER_SELECTION_JOB_PACE_H_
#define HEADWISE_SERVER_SELECTION_JOB_PACE_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "absl/time/time.h"

namespace headwise {

// Shares time among the documents that are under way, equally at each moment:
// the costs of all add up to the time in which there was one. Times never go
// back. Not thread-safe.
class CostMeter {
 public:
  // A document begins. Returns what End wants.
  double Begin(absl::Time now) {
    Advance(now);
    ++num_under_way_;
    return share_seconds_;
  }
  // It ends: seconds of its share.
  double End(absl::Time now, double begin) {
    Advance(now);
    --num_under_way_;
    return share_seconds_ - begin;
  }

 private:
  void Advance(absl::Time now) {
    if (num_under_way_ > 0) {
      share_seconds_ += absl::ToDoubleSeconds(now - last_) /
                        static_cast<double>(num_under_way_);
    }
    last_ = now;
  }

  int64_t num_under_way_ = 0;
  double share_seconds_ = 0.0;  // of a document that was always under way
  absl::Time last_;
};

// Tokens per second over the last minute, or since the first call if that is
// later. Not thread-safe.
class RateMeter {
 public:
  void Add(absl::Time now, int64_t tokens) {
    if (counts_.empty()) begin_ = now;
    // One entry for a tick bounds them.
    if (!counts_.empty() && now - counts_.back().first < kTick) {
      counts_.back().second += tokens;
    } else {
      counts_.emplace_back(now, tokens);
    }
    while (counts_.front().first <= now - kWindow) {
      begin_ = counts_.front().first;
      counts_.pop_front();
    }
  }

  // 0 until a tick has gone by.
  double PerSecond(absl::Time now) const {
    const absl::Time begin = std::max(begin_, now - kWindow);
    if (counts_.empty() || now - begin < kTick) return 0.0;
    int64_t sum = 0;
    for (const auto& [time, tokens] : counts_) {
      if (time >= begin) sum += tokens;
    }
    return static_cast<double>(sum) / absl::ToDoubleSeconds(now - begin);
  }

 private:
  static constexpr absl::Duration kTick = absl::Milliseconds(500);
  static constexpr absl::Duration kWindow = absl::Minutes(1);

  std::deque<std::pair<absl::Time, int64_t>> counts_;
  absl::Time begin_;  // of what counts_ has
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_PACE_H_
