// An answer that several calls read: those that came under one idempotency key.

#ifndef HEADWISE_SERVER_FRONTENDS_KEYED_ANSWER_H_
#define HEADWISE_SERVER_FRONTENDS_KEYED_ANSWER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "headwise/v1/inference.pb.h"
#include "server/frontends/answer_writer.h"
#include "server/frontends/cancel_hook.h"
#include "server/frontends/response_stream.h"

namespace headwise {

// The work goes on for so long after the last reader has left: who lost his
// connection comes back within it.
inline constexpr absl::Duration kLinger = absl::Seconds(10);
// Of text, tokens and alternatives; a longer answer takes no more readers.
inline constexpr int64_t kMaxKeyedAnswerBytes = 512 << 10;

// Thread-safe. The first reader's call does the work and writes; each reader
// hears what he has not received, at his own pace.
class KeyedAnswer final : public AnswerWriter,
                          public std::enable_shared_from_this<KeyedAnswer> {
 public:
  struct Reader {
    std::shared_ptr<ResponseStream> stream;
    int64_t num_received = 0;  // tokens that he has
    // Hears how his call ended; empty: the writer tells it.
    std::function<void(const absl::Status&)> on_end;
  };
  enum class Joined { kYes, kTooFar, kOver };

  // `received`: the first tokens, which the work will not write. `linger`:
  // as kLinger, for tests.
  KeyedAnswer(std::string fingerprint, std::vector<int32_t> received,
              absl::Duration linger = kLinger);

  // Of the request.
  const std::string& fingerprint() const { return fingerprint_; }

  // kYes: `reader` hears the rest of the answer, and its end. kTooFar: he
  // lacks what is not kept. kOver: it has failed.
  Joined Join(Reader reader);
  // How the work is stopped; at once if nobody is left.
  void SetCancel(std::function<void()> cancel);
  // Nobody lingers any more.
  void StopLingering();

  // A caller that is gone, or fell behind, leaves by itself.
  bool Write(v1::GenerateResponse message) override;
  // Returns `status`, whatever readers who left were told.
  absl::Status Close(absl::Status status) override;

  bool has_ended() const;
  bool has_failed() const;  // or is stopped since nobody came back
  int64_t kept_bytes() const;

 private:
  // What some readers are to hear next.
  struct Delivery {
    std::vector<std::shared_ptr<ResponseStream>> streams;
    std::vector<v1::GenerateResponse> messages;
    std::optional<absl::Status> end;  // and then each of `on_ends`
    std::vector<std::function<void(const absl::Status&)>> on_ends;
  };

  void Deliver();
  void Keep(const v1::GenerateResponse& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a reader with so many tokens has missed.
  std::vector<v1::GenerateResponse> MissedLocked(int64_t num_received) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(const ResponseStream* stream);
  // Stops the work if it has no reader.
  void StopUnread();

  const std::string fingerprint_;
  const absl::Duration linger_;
  CancelHook cancel_;

  mutable absl::Mutex mutex_;
  // In order; one thread at a time delivers, without the lock.
  std::deque<Delivery> outbox_ ABSL_GUARDED_BY(mutex_);
  bool is_delivering_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Reader> readers_ ABSL_GUARDED_BY(mutex_);
  // All text, tokens and alternatives since num_skipped_.
  v1::GeneratedText kept_ ABSL_GUARDED_BY(mutex_);
  std::vector<size_t> text_ends_ ABSL_GUARDED_BY(mutex_);  // by kept token
  int64_t num_skipped_ ABSL_GUARDED_BY(mutex_);
  int64_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_too_long_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_lingering_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopped_ ABSL_GUARDED_BY(mutex_) = false;  // takes no readers
  std::optional<v1::Finished> finished_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_KEYED_ANSWER_H_
