// Counts the requests that the engine still speaks of.

#ifndef HEADWISE_SERVER_FRONTENDS_OPEN_CALLS_H_
#define HEADWISE_SERVER_FRONTENDS_OPEN_CALLS_H_

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/scheduler/engine.h"

namespace headwise {

// Thread-safe. A call may be over for gRPC (its client has left) while the
// engine still tells its sink of it; what sinks refer to must live as long.
class OpenCalls {
 public:
  // `sink`, counted as open until the engine lets go of what is returned.
  std::shared_ptr<RequestSink> Count(std::shared_ptr<RequestSink> sink) {
    {
      absl::MutexLock lock(&mutex_);
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

  // Returns when none is open. No further calls of Count may come.
  void AwaitNone() {
    absl::MutexLock lock(&mutex_);
    const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_open_ == 0;
    };
    mutex_.Await(absl::Condition(&none));
  }

 private:
  absl::Mutex mutex_;
  int num_open_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_OPEN_CALLS_H_
