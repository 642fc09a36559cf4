// Counts the calls that something still works for.

#ifndef HEADWISE_SERVER_FRONTENDS_OPEN_CALLS_H_
#define HEADWISE_SERVER_FRONTENDS_OPEN_CALLS_H_

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/scheduler/engine.h"

namespace headwise {

// Thread-safe. A call may be over for gRPC (its client has left) while the
// engine still tells its sink of it; what sinks refer to must live as long.
class OpenCalls {
 public:
  // `sink`, counted as open until the engine lets go of what is returned. Null
  // once Close was called.
  std::shared_ptr<RequestSink> Count(std::shared_ptr<RequestSink> sink) {
    {
      absl::MutexLock lock(&mutex_);
      if (closed_) return nullptr;
      ++num_open_;
    }
    RequestSink* const counted = sink.get();
    return std::shared_ptr<RequestSink>(
        counted, [this, sink = std::move(sink)](RequestSink*) mutable {
          sink.reset();
          absl::MutexLock lock(&mutex_);
          --num_open_;
        });
  }

  // A call that the engine does not know, open until what is returned is let
  // go. Null once Close was called.
  std::shared_ptr<void> Count() {
    absl::MutexLock lock(&mutex_);
    if (closed_) return nullptr;
    ++num_open_;
    return std::shared_ptr<void>(this, [this](void*) {
      absl::MutexLock unlock(&mutex_);
      --num_open_;
    });
  }

  // From now on none is opened.
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  bool closed() const {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }

  // Requires Close. True once none is open, false after `timeout`.
  bool AwaitNone(absl::Duration timeout = absl::InfiniteDuration()) const {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return num_open_ == 0;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&none), timeout);
  }

 private:
  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int num_open_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_OPEN_CALLS_H_
