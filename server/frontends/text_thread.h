// Makes long texts tokens where nobody waits for it.

#ifndef HEADWISE_SERVER_FRONTENDS_TEXT_THREAD_H_
#define HEADWISE_SERVER_FRONTENDS_TEXT_THREAD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

// Takes about 15 ms; heartbeats and all streams wait that long on gRPC's few
// threads.
inline constexpr int64_t kMaxInlineTextBytes = 64 << 10;
// Each holds a message of up to 16 MiB and takes up to 4 s.
inline constexpr size_t kMaxWaitingTexts = 16;

// Thread-safe. A client could tokenize itself and send ids instead, but only if
// it has the model: cutting a text to fit several Tokenize calls would change
// the tokens at the cuts.
class TextThread {
 public:
  TextThread() = default;
  // Runs what waits.
  ~TextThread();

  // Runs `job`, which tokenizes `text_bytes`, once: on this thread before the
  // return, or, for a long text, on the own one, in order.
  // ResourceExhausted: kMaxWaitingTexts wait; the job is dropped.
  absl::Status Run(int64_t text_bytes, std::function<void()> job);

 private:
  void Work();

  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);  // from the first long text on
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_TEXT_THREAD_H_
