// The server's end of Sessions.Upload.

#ifndef HEADWISE_SERVER_FRONTENDS_UPLOAD_STREAM_H_
#define HEADWISE_SERVER_FRONTENDS_UPLOAD_STREAM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/v1/sessions.pb.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/prompt_sessions.h"
#include "server/frontends/text_thread.h"

namespace headwise {

// Tokens that are worth a run of their own while others are on their way: each
// leaves a copy of the session's tokens behind until it is parked or gone.
inline constexpr int64_t kUploadRunTokens = 16 << 10;

void WritePromptSession(const PromptSession& session, absl::Time now,
                        v1::PromptSession* out);

// What an upload needs of its server; outlives it.
struct UploadTerms {
  const FrontendContext& frontend;
  PromptSessions& sessions;
  TextThread& texts;
  int64_t run_tokens = kUploadRunTokens;  // four times as many may wait
};

// Reads ahead while the engine runs what came before. gRPC owns one reference
// until OnDone; the engine's sink another one.
class UploadStream final
    : public grpc::ServerBidiReactor<v1::UploadRequest, v1::UploadProgress> {
 public:
  static UploadStream* Start(const UploadTerms& terms, Arrival arrival,
                             const absl::Status& taken);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  enum class Action {
    kNone,
    kRead,
    kWrite,
    kRun,
    kCancelRun,
    kSettle,
    kReturn,
    kClose
  };
  class Sink;

  UploadStream(const UploadTerms& terms, Arrival arrival);
  // Does what is to be done, one thing at a time, on one thread at a time.
  void Pump();
  Action NextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  // The run has ended and its id is known.
  void BookRun();
  void Settle();
  void Close();
  void Take();
  absl::Status TakeMessage() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckTotalLocked(int64_t more) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t ReceivedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return session_->num_tokens + run_tokens_ +
           static_cast<int64_t>(waiting_.size());
  }
  absl::Status BeginLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<int32_t>> ParseChunk(bool is_first) const;
  void ReturnSession() ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(absl::Status status);
  void OnPrefill(int64_t processed);
  void OnFinished(const absl::Status& status);

  const UploadTerms terms_;
  const Arrival arrival_;
  std::shared_ptr<void> counted_;       // open while it lives
  std::shared_ptr<UploadStream> self_;  // until OnDone
  v1::UploadRequest message_;    // gRPC's, or of the thread that takes it
  v1::UploadProgress progress_;  // gRPC's while writing_

  absl::Mutex mutex_;
  std::optional<PromptSession> session_ ABSL_GUARDED_BY(mutex_);
  std::vector<int32_t> waiting_ ABSL_GUARDED_BY(mutex_);
  int64_t run_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<int32_t> run_prompt_ ABSL_GUARDED_BY(mutex_);
  int64_t run_done_ ABSL_GUARDED_BY(mutex_) = 0;  // of them
  std::optional<uint64_t> run_id_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> run_end_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_run_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;     // the client's side
  bool returned_ ABSL_GUARDED_BY(mutex_) = false;  // the session
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_pumping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_UPLOAD_STREAM_H_
