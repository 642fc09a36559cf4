// The client's end of Selection.ScoreDocuments.

#ifndef HEADWISE_CLIENT_CPP_DOCUMENT_SENDER_H_
#define HEADWISE_CLIENT_CPP_DOCUMENT_SENDER_H_

#include <cstdint>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/cpp/client.h"
#include "client/cpp/retry_policy.h"
#include "headwise/v1/selection.grpc.pb.h"

namespace headwise {

// Sends documents ahead of their rows and keeps them until their rows have
// come, so that they can be sent again. Does one run.
class DocumentSender {
 public:
  using Next = absl::FunctionRef<absl::StatusOr<bool>(v1::SelectionDocument*)>;
  using OnRow = absl::FunctionRef<absl::Status(const v1::SelectionRow&)>;

  // All must outlive it. See SelectionClient::ScoreDocuments.
  DocumentSender(const ClientOptions& options, v1::Selection::Stub& stub,
                 const v1::ScoreDocumentsTerms& terms, Next next, OnRow on_row)
      : options_(options),
        stub_(stub),
        terms_(terms),
        next_(next),
        on_row_(on_row) {}

  absl::Status Run();

 private:
  using Stream = grpc::ClientReaderWriter<v1::ScoreDocumentsRequest,
                                          v1::ScoreDocumentsResponse>;

  Attempt RunStream(bool* has_rows);
  void Read(Stream& stream);
  // Until all is written or the stream has broken.
  void WriteAll(Stream& stream);
  // Puts the next document into `message`. False: there is none to send now or
  // ever.
  bool NextMessage(v1::ScoreDocumentsRequest* message);
  absl::Status Take(const v1::ScoreDocumentsResponse& response);

  const ClientOptions options_;
  v1::Selection::Stub& stub_;
  const v1::ScoreDocumentsTerms& terms_;
  const Next next_;
  const OnRow on_row_;

  absl::Mutex mutex_;
  // Without a row; of them, how many this stream has been sent.
  std::deque<v1::SelectionDocument> open_ ABSL_GUARDED_BY(mutex_);
  size_t num_sent_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t open_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;   // `next` has said so
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // this stream
  absl::Status error_ ABSL_GUARDED_BY(mutex_);   // of a function
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_DOCUMENT_SENDER_H_
