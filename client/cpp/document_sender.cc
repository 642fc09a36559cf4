#include "client/cpp/document_sender.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "client/cpp/client_call.h"

namespace headwise {
namespace {

// What may be on its way: more than a server takes in (selection.proto).
constexpr size_t kMaxOpenDocuments = 4096;
constexpr int64_t kMaxOpenBytes = int64_t{64} << 20;

int64_t BytesOf(const v1::SelectionDocument& document) {
  return static_cast<int64_t>(document.id().size() + document.text().size());
}

}  // namespace

absl::Status DocumentSender::Run() {
  while (true) {
    // Attempts count from the last one that brought rows.
    bool has_rows = false;
    const absl::Status status =
        CallWithRetry(options_.retry, options_.timeout, [&](absl::Duration) {
          Attempt attempt = RunStream(&has_rows);
          attempt.may_repeat = !has_rows;
          return attempt;
        });
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) return error_;
    if (!absl::IsUnavailable(status) || !has_rows) return status;
  }
}

Attempt DocumentSender::RunStream(bool* has_rows) {
  grpc::ClientContext context;
  PrepareCall(options_, options_.timeout, &context);
  const std::unique_ptr<Stream> stream = stub_.ScoreDocuments(&context);
  int64_t rows_before = 0;
  {
    absl::MutexLock lock(&mutex_);
    num_sent_ = 0;
    broken_ = false;
    rows_before = num_rows_;
  }
  std::thread reader([&] {
    Read(*stream);
    absl::MutexLock lock(&mutex_);
    broken_ = true;
    if (!error_.ok()) context.TryCancel();
  });
  WriteAll(*stream);
  {
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) context.TryCancel();
  }
  reader.join();
  Attempt attempt = ToAttempt(stream->Finish());
  absl::MutexLock lock(&mutex_);
  *has_rows = num_rows_ > rows_before;
  if (!error_.ok()) {
    attempt.status = error_;
  } else if (attempt.status.ok() && !open_.empty()) {
    attempt.status =
        absl::InternalError("the server ended before the last row");
  }
  return attempt;
}

void DocumentSender::Read(Stream& stream) {
  v1::ScoreDocumentsResponse response;
  while (stream.Read(&response)) {
    absl::Status status = Take(response);
    if (status.ok()) continue;
    absl::MutexLock lock(&mutex_);
    error_ = std::move(status);
    return;
  }
}

absl::Status DocumentSender::Take(const v1::ScoreDocumentsResponse& response) {
  for (const v1::SelectionRow& row : response.rows()) {
    const absl::Status status = on_row_(row);
    if (!status.ok()) return status;
    absl::MutexLock lock(&mutex_);
    if (num_sent_ == 0) return absl::InternalError("a row of no document");
    open_bytes_ -= BytesOf(open_.front());
    open_.pop_front();
    --num_sent_;
    ++num_rows_;
  }
  return absl::OkStatus();
}

void DocumentSender::WriteAll(Stream& stream) {
  v1::ScoreDocumentsRequest message;
  *message.mutable_terms() = terms_;
  do {
    if (!stream.Write(message)) return;  // Finish says why
    message.Clear();
  } while (NextMessage(&message));
  bool is_done = false;
  {
    absl::MutexLock lock(&mutex_);
    is_done = ended_ && error_.ok() && !broken_;
  }
  if (is_done) stream.WritesDone();
}

bool DocumentSender::NextMessage(v1::ScoreDocumentsRequest* message) {
  {
    absl::MutexLock lock(&mutex_);
    const auto may_go_on = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const bool has_room =
          open_.size() < kMaxOpenDocuments && open_bytes_ < kMaxOpenBytes;
      return broken_ || ended_ || num_sent_ < open_.size() || has_room;
    };
    mutex_.Await(absl::Condition(&may_go_on));
    if (broken_) return false;
    if (num_sent_ < open_.size()) {
      *message->add_documents() = open_[num_sent_++];
      return true;
    }
    if (ended_) return false;
  }
  v1::SelectionDocument document;
  const absl::StatusOr<bool> has_next = next_(&document);
  absl::MutexLock lock(&mutex_);
  if (!has_next.ok()) {
    if (error_.ok()) error_ = has_next.status();
    return false;
  }
  if (!*has_next) {
    ended_ = true;
    return false;
  }
  open_bytes_ += BytesOf(document);
  open_.push_back(std::move(document));
  if (broken_) return false;
  *message->add_documents() = open_[num_sent_++];
  return true;
}

}  // namespace headwise
