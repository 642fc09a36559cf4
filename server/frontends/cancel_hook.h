// Joins two races: a client that goes away, and work that has just been given
// an id by which it can be stopped.

#ifndef HEADWISE_SERVER_FRONTENDS_CANCEL_HOOK_H_
#define HEADWISE_SERVER_FRONTENDS_CANCEL_HOOK_H_

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

// Thread-safe. The function runs at most once, without a lock held, on the
// thread of the later of Set and Fire.
class CancelHook {
 public:
  void Set(std::function<void()> cancel) {
    {
      absl::MutexLock lock(&mutex_);
      if (!fired_) {
        cancel_ = std::move(cancel);
        return;
      }
    }
    cancel();
  }

  void Fire() {
    std::function<void()> cancel;
    {
      absl::MutexLock lock(&mutex_);
      fired_ = true;
      cancel = std::exchange(cancel_, nullptr);
    }
    if (cancel) cancel();
  }

 private:
  absl::Mutex mutex_;
  bool fired_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> cancel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CANCEL_HOOK_H_
