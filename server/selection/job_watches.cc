#include "server/selection/job_watches.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

constexpr absl::Duration kMinInterval = absl::Milliseconds(20);
constexpr absl::Duration kIdleWait = absl::Seconds(10);

// What a client sees of it.
bool IsSame(const JobStatus& a, const JobStatus& b) {
  return a.state == b.state && a.reason == b.reason && a.note == b.note &&
         a.num_shards_done == b.num_shards_done &&
         a.total.num_documents == b.total.num_documents &&
         a.total.num_ranked == b.total.num_ranked &&
         a.running_seconds == b.running_seconds &&
         a.tokens_per_second == b.tokens_per_second;
}

}  // namespace

class JobWatches::Watch {
 public:
  Watch(std::string id, absl::Duration interval, Changed changed,
        absl::Time now)
      : id_(std::move(id)),
        interval_(std::max(interval, kMinInterval)),
        changed_(std::move(changed)),
        next_(now) {}

  const std::string& id() const { return id_; }

  absl::Time next() const {
    absl::MutexLock lock(&mutex_);
    return next_;
  }

  // The lock is held while the callback runs, so that Close waits for it; no
  // other lock is. False: it is over.
  bool Tell(const absl::StatusOr<JobStatus>& status, absl::Time now) {
    absl::MutexLock lock(&mutex_);
    next_ = now + interval_;
    if (is_closed_) return false;
    // The books may be there again the next time.
    if (!status.ok()) return true;
    if (last_.has_value() && IsSame(*last_, *status)) return true;
    last_ = *status;
    changed_(*status);
    return !IsFinal(status->state);
  }

  void Close() {
    absl::MutexLock lock(&mutex_);
    is_closed_ = true;
  }
  // Never waits.
  bool is_closed() const { return is_closed_; }

 private:
  const std::string id_;
  const absl::Duration interval_;
  const Changed changed_;

  std::atomic<bool> is_closed_ = false;  // set under the lock
  mutable absl::Mutex mutex_;
  absl::Time next_ ABSL_GUARDED_BY(mutex_);
  std::optional<JobStatus> last_ ABSL_GUARDED_BY(mutex_);
};

class JobWatches::Handle final : public JobWatch {
 public:
  explicit Handle(std::shared_ptr<Watch> watch) : watch_(std::move(watch)) {}
  ~Handle() override { watch_->Close(); }

 private:
  const std::shared_ptr<Watch> watch_;
};

JobWatches::JobWatches(Look look, const Clock& clock)
    : look_(std::move(look)), clock_(clock), thread_([this] { Loop(); }) {}

JobWatches::~JobWatches() {
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  thread_.join();
}

absl::StatusOr<std::unique_ptr<JobWatch>> JobWatches::Add(
    const std::string& id, absl::Duration interval, Changed changed) {
  auto watch =
      std::make_shared<Watch>(id, interval, std::move(changed), clock_.Now());
  absl::MutexLock lock(&mutex_);
  watches_.erase(std::remove_if(watches_.begin(), watches_.end(),
                                [](const std::shared_ptr<Watch>& other) {
                                  return other->is_closed();
                                }),
                 watches_.end());
  if (watches_.size() >= kMaxJobWatches) {
    return absl::ResourceExhaustedError(absl::StrCat(
        watches_.size(), " watches of jobs, limit ", kMaxJobWatches));
  }
  watches_.push_back(watch);
  has_new_ = true;
  return std::make_unique<Handle>(std::move(watch));
}

void JobWatches::Loop() {
  absl::Duration wait = kIdleWait;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      const auto has_news = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return has_new_ || is_stopping_;
      };
      mutex_.AwaitWithTimeout(absl::Condition(&has_news), wait);
      if (is_stopping_) return;
      has_new_ = false;
    }
    wait = LookAtDue();
  }
}

absl::Duration JobWatches::LookAtDue() {
  std::vector<std::shared_ptr<Watch>> watches;
  {
    absl::MutexLock lock(&mutex_);
    watches = watches_;
  }
  absl::Duration wait = kIdleWait;
  std::vector<std::shared_ptr<Watch>> over;
  for (const auto& watch : watches) {
    const absl::Time now = clock_.Now();
    if (watch->next() <= now && !watch->Tell(look_(watch->id()), now)) {
      over.push_back(watch);
    }
    wait = std::min(wait, watch->next() - now);
  }
  absl::MutexLock lock(&mutex_);
  for (const auto& watch : over) {
    watches_.erase(std::remove(watches_.begin(), watches_.end(), watch),
                   watches_.end());
  }
  return std::max(wait, absl::Milliseconds(1));
}

}  // namespace headwise
