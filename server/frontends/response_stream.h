// The server's end of a stream of GenerateResponse: a bounded buffer between
// the engine's thread, which must not wait, and a reader, which may.

#ifndef HEADWISE_SERVER_FRONTENDS_RESPONSE_STREAM_H_
#define HEADWISE_SERVER_FRONTENDS_RESPONSE_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/v1/inference.pb.h"
#include "server/frontends/answer_writer.h"
#include "server/frontends/cancel_hook.h"

namespace headwise {

// What may wait for a slow reader beside what gRPC's flow control holds: some
// thousand tokens, more than a reader with an ordinary pause gathers.
inline constexpr int64_t kMaxBufferedBytes = 1 << 20;
// Memory of a message beyond its bytes on the wire.
inline constexpr int64_t kMessageOverheadBytes = 256;

// Thread-safe. gRPC owns one reference until OnDone, so writers may outlive the
// call: what they write then is dropped.
//
// Past kMaxBufferedBytes the buffer is dropped, the work is cancelled, and the
// stream ends with ResourceExhausted. It ends when Close is called and the
// write in flight is done; a reader that never reads again keeps one message
// and this object until its deadline or its connection ends.
class ResponseStream final
    : public grpc::ServerWriteReactor<v1::GenerateResponse>,
      public AnswerWriter {
 public:
  static std::shared_ptr<ResponseStream> Create();

  // Calls `cancel` once when the client goes away or falls behind; at once if
  // it has already.
  void SetCancel(std::function<void()> cancel);

  // False if the message was dropped because the client is gone or too slow.
  bool Write(v1::GenerateResponse message) override;

  // Sends what is buffered, then `status`, or ResourceExhausted if the reader
  // was too slow. Returns what is sent. To be called once.
  absl::Status Close(absl::Status status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  ResponseStream() = default;
  void Pump();

  CancelHook cancel_;
  std::shared_ptr<ResponseStream> self_;  // until OnDone
  // Belongs to the write in flight, or to whoever has set writing_.
  v1::GenerateResponse in_flight_;

  absl::Mutex mutex_;
  std::deque<v1::GenerateResponse> pending_ ABSL_GUARDED_BY(mutex_);
  int64_t pending_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;    // drops all writes
  bool overflow_ ABSL_GUARDED_BY(mutex_) = false;  // implies broken_
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was called
  absl::Status final_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_RESPONSE_STREAM_H_
