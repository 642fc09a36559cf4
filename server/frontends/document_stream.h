// The server's end of Selection.ScoreDocuments: documents in, rows out in the
// same order.

#ifndef HEADWISE_SERVER_FRONTENDS_DOCUMENT_STREAM_H_
#define HEADWISE_SERVER_FRONTENDS_DOCUMENT_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/v1/selection.pb.h"
#include "server/leases/task_pool.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/selection_metrics.h"
#include "server/frontends/selection_parser.h"
#include "server/selection/document_row.h"
#include "server/selection/document_scorer.h"

namespace headwise {

// Past these no message is read. One more message may come on top: of gRPC's
// 16 MiB and kMaxDocumentsOfMessage documents.
inline constexpr size_t kMaxOpenDocuments = 256;
inline constexpr int64_t kMaxOpenDocumentBytes = 16 << 20;
// So that their texts take at most 512 MiB, those under way fit into the
// engine's queue, and each stream has a place in the pool's.
inline constexpr int kMaxDocumentStreams = 16;

using MakeStreamScorer =
    std::function<absl::StatusOr<std::unique_ptr<DocumentScorer>>(
        const DocumentCall& call)>;

// What a stream needs of its server; outlives it.
struct DocumentStreamTerms {
  const FrontendContext& frontend;
  const MakeStreamScorer& make_scorer;
  SelectionMetrics& metrics;
  TaskPool& pool;  // with room for a task of each stream
};

// Makes tokens and looks at texts on the pool, one task of a stream at a time.
// gRPC owns one reference until OnDone; tasks, and documents that are being
// scored, own others.
class DocumentStream final
    : public grpc::ServerBidiReactor<v1::ScoreDocumentsRequest,
                                     v1::ScoreDocumentsResponse>,
      public std::enable_shared_from_this<DocumentStream> {
 public:
  // `admission`: why it is refused, or OK. `place` is let go when it ends.
  static DocumentStream* Start(const DocumentStreamTerms& terms,
                               Arrival arrival, absl::Status admission,
                               std::shared_ptr<void> place);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  enum class Action { kNone, kRead, kTake, kScore, kWrite, kClose };
  // A document from its message until its row is written.
  struct Slot {
    Document document;
    ScoreRow row;
    bool is_ready = false;
    absl::Status error;  // ends the stream once all rows before it are written
    int64_t bytes = 0;   // of the text that it came with

    bool needs_scoring() const { return !is_ready && error.ok(); }
  };

  DocumentStream(const DocumentStreamTerms& terms, Arrival arrival)
      : terms_(terms), arrival_(std::move(arrival)) {}
  // Sees to it that Pump runs after what was changed before the call.
  void Wake();
  // Does what is to be done, one thing at a time.
  void Pump();
  Action NextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayReadLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Take();
  // With the digest of the model, which inline plans are checked against.
  void Begin(const std::string& sha256);
  absl::Status BeginScoring(const std::string& sha256);
  absl::Status TakeDocuments();
  void Score();
  void OnScored(int64_t number, const absl::StatusOr<DocumentLoss>& loss);
  void Write();
  void Close();
  void Fail(absl::Status status);

  const DocumentStreamTerms terms_;
  const Arrival arrival_;
  std::shared_ptr<DocumentStream> self_;  // until OnDone
  v1::ScoreDocumentsRequest message_;    // gRPC's, or of the task that takes it
  v1::ScoreDocumentsResponse response_;  // gRPC's while writing_
  // Set by the task that takes the first message, then read only.
  DocumentCall call_;
  std::shared_ptr<DocumentScorer> scorer_;

  absl::Mutex mutex_;
  std::shared_ptr<void> counted_ ABSL_GUARDED_BY(mutex_);  // an open call
  std::shared_ptr<void> place_ ABSL_GUARDED_BY(mutex_);    // among the streams
  std::deque<Slot> slots_ ABSL_GUARDED_BY(mutex_);
  int64_t first_ ABSL_GUARDED_BY(mutex_) = 0;    // number of slots_[0]
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;     // to be scored
  int64_t scoring_ ABSL_GUARDED_BY(mutex_) = 0;  // under way
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;    // of slots_
  int64_t scored_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool beginning_ ABSL_GUARDED_BY(mutex_) = false;  // waits for the digest
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;      // the terms are known
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_message_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // the client's side
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_pumping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_DOCUMENT_STREAM_H_
