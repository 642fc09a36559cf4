#include "server/scheduler/outcome_inbox.h"

#include <utility>

namespace headwise {

void OutcomeInbox::Put(Arrival arrival) {
  absl::MutexLock lock(&mutex_);
  arrivals_.push_back(std::move(arrival));
  has_news_ = true;
}

void OutcomeInbox::Wake() {
  absl::MutexLock lock(&mutex_);
  has_news_ = true;
}

std::vector<OutcomeInbox::Arrival> OutcomeInbox::Take() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(arrivals_, {});
}

void OutcomeInbox::Await(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&has_news_), timeout);
  has_news_ = false;
}

}  // namespace headwise
