// How surprising tokens were, over all memories.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_SURPRISE_HISTOGRAM_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_SURPRISE_HISTOGRAM_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

// Of (token, head) pairs. What surprise is large depends on values and spec, so
// bounds are powers of 4 over twelve decades.
struct SurpriseCounts {
  static constexpr std::array<double, 20> kBounds = {
      0x1p-20, 0x1p-18, 0x1p-16, 0x1p-14, 0x1p-12, 0x1p-10, 0x1p-8,
      0x1p-6,  0x1p-4,  0x1p-2,  1.0,     0x1p2,   0x1p4,   0x1p6,
      0x1p8,   0x1p10,  0x1p12,  0x1p14,  0x1p16,  0x1p18};
  // [i]: at most kBounds[i] and above the bound before it; the last: above all.
  std::array<int64_t, kBounds.size() + 1> counts{};
  double sum = 0.0;
};

// Thread-safe.
class SurpriseHistogram {
 public:
  void Add(const std::vector<float>& surprise) {
    SurpriseCounts more;
    for (const float x : surprise) {
      const auto bound = std::lower_bound(SurpriseCounts::kBounds.begin(),
                                          SurpriseCounts::kBounds.end(), x);
      ++more.counts[bound - SurpriseCounts::kBounds.begin()];
      more.sum += x;
    }
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < more.counts.size(); ++i) {
      counts_.counts[i] += more.counts[i];
    }
    counts_.sum += more.sum;
  }
  SurpriseCounts counts() const {
    absl::MutexLock lock(&mutex_);
    return counts_;
  }

 private:
  mutable absl::Mutex mutex_;
  SurpriseCounts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_SURPRISE_HISTOGRAM_H_
