#include "server/frontends/document_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/selection_writer.h"

namespace headwise {
namespace {

// What is ready goes at once, but no message is large.
constexpr size_t kMaxRowsOfMessage = 256;

absl::Status LeftError() { return absl::CancelledError("the client has left"); }

}  // namespace

DocumentStream* DocumentStream::Start(const DocumentStreamTerms& terms,
                                      Arrival arrival, absl::Status admission,
                                      std::shared_ptr<void> place) {
  const std::shared_ptr<DocumentStream> stream(
      new DocumentStream(terms, std::move(arrival)));
  stream->self_ = stream;
  std::shared_ptr<void> counted = terms.frontend.open_calls.Count();
  if (counted == nullptr) admission = DrainingError();
  const bool is_admitted = admission.ok();
  {
    absl::MutexLock lock(&stream->mutex_);
    stream->status_ = std::move(admission);
    stream->place_ = std::move(place);
    stream->counted_ = std::move(counted);
    stream->closed_ = !is_admitted;
  }
  // One that is refused has no place in the pool's queue.
  if (is_admitted) {
    stream->Wake();
  } else {
    stream->Close();
  }
  return stream.get();
}

void DocumentStream::Wake() {
  {
    absl::MutexLock lock(&mutex_);
    if (is_pumping_ || closed_) return;
    is_pumping_ = true;
  }
  const absl::Status submitted =
      terms_.pool.Submit([self = shared_from_this()] { self->Pump(); });
  HEADWISE_CHECK(submitted.ok());  // each stream has a place in its queue
}

void DocumentStream::Pump() {
  while (true) {
    Action action = Action::kNone;
    {
      absl::MutexLock lock(&mutex_);
      action = NextLocked();
      is_pumping_ = action != Action::kNone && action != Action::kClose;
    }
    switch (action) {
      case Action::kNone:
        return;
      case Action::kRead:
        StartRead(&message_);
        break;
      case Action::kTake:
        Take();
        break;
      case Action::kScore:
        Score();
        break;
      case Action::kWrite:
        Write();
        break;
      case Action::kClose:
        return Close();
    }
  }
}

bool DocumentStream::MayReadLocked() const {
  return !reading_ && !has_message_ && !ended_ &&
         slots_.size() < kMaxOpenDocuments && bytes_ < kMaxOpenDocumentBytes &&
         (slots_.empty() || slots_.back().error.ok());
}

DocumentStream::Action DocumentStream::NextLocked() {
  if (closed_) return Action::kNone;
  // An error ends the stream when all rows before it have gone.
  if (status_.ok() && !slots_.empty()) status_ = slots_.front().error;
  const bool is_done = ended_ && !has_message_ && slots_.empty();
  if (!status_.ok() || is_done) {
    if (writing_) return Action::kNone;
    closed_ = true;
    return Action::kClose;
  }
  if (has_message_ && !beginning_) return Action::kTake;
  if (!writing_ && !slots_.empty() && slots_.front().is_ready) {
    writing_ = true;
    return Action::kWrite;
  }
  if (MayReadLocked()) {
    reading_ = true;
    return Action::kRead;
  }
  const int64_t end = first_ + static_cast<int64_t>(slots_.size());
  while (next_ < end && !slots_[next_ - first_].needs_scoring()) ++next_;
  if (next_ < end && scoring_ < scorer_->num_at_once()) return Action::kScore;
  return Action::kNone;
}

void DocumentStream::Take() {
  bool begins = false;
  {
    absl::MutexLock lock(&mutex_);
    begins = beginning_ = !begun_;
  }
  if (begins) {
    // Of a large model it may take minutes, and the pool is not for that.
    terms_.frontend.digest.Get(
        [self = shared_from_this()](const std::string& sha256) {
          self->Begin(sha256);
        });
    return;
  }
  absl::Status taken = TakeDocuments();
  message_.Clear();
  absl::MutexLock lock(&mutex_);
  has_message_ = false;
  if (status_.ok()) status_ = std::move(taken);
}

void DocumentStream::Begin(const std::string& sha256) {
  absl::Status begun = BeginScoring(sha256);
  {
    absl::MutexLock lock(&mutex_);
    beginning_ = false;
    begun_ = true;
    if (status_.ok()) status_ = std::move(begun);
  }
  Wake();
}

absl::Status DocumentStream::BeginScoring(const std::string& sha256) {
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return status_;
  }
  if (!message_.has_terms()) {
    return InvalidField("terms", "are not in the stream's first message");
  }
  HEADWISE_ASSIGN_OR_RETURN(
      call_, ParseDocumentTerms(message_.terms(), terms_.frontend, sha256));
  message_.clear_terms();
  HEADWISE_ASSIGN_OR_RETURN(scorer_, terms_.make_scorer(call_));
  return absl::OkStatus();
}

absl::Status DocumentStream::TakeDocuments() {
  if (message_.has_terms()) {
    return InvalidField("terms", "are of the stream's first message alone");
  }
  HEADWISE_RETURN_IF_ERROR(CheckDocumentCount(message_.documents_size()));
  int64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    number = first_ + static_cast<int64_t>(slots_.size());
  }
  for (int i = 0; i < message_.documents_size(); ++i, ++number) {
    Slot slot;
    slot.bytes = static_cast<int64_t>(message_.documents(i).text().size());
    absl::StatusOr<Document> document =
        TakeDocument(i, number, call_, message_.mutable_documents(i));
    slot.error = document.status();
    if (document.ok()) {
      slot.document = *std::move(document);
      slot.is_ready = !CheckDocument(call_.rules, slot.document);
      if (slot.is_ready) slot.row = UnscoredRow(slot.document);
    }
    const bool is_last = !slot.error.ok();
    absl::MutexLock lock(&mutex_);
    bytes_ += slot.bytes;
    slots_.push_back(std::move(slot));
    if (is_last) break;
  }
  return absl::OkStatus();
}

void DocumentStream::Score() {
  std::string text;
  int64_t number = 0;
  std::shared_ptr<void> counted;
  {
    absl::MutexLock lock(&mutex_);
    number = next_++;
    ++scoring_;
    text = std::move(slots_[number - first_].document.text);
    counted = counted_;
  }
  // The call is open until the engine has spoken of it for the last time.
  scorer_->Score(std::move(text),
                 [self = shared_from_this(), counted = std::move(counted),
                  number](const absl::StatusOr<DocumentLoss>& loss) {
                   self->OnScored(number, loss);
                 });
}

void DocumentStream::OnScored(int64_t number,
                              const absl::StatusOr<DocumentLoss>& loss) {
  {
    absl::MutexLock lock(&mutex_);
    --scoring_;
    if (closed_) return;
    Slot& slot = slots_[number - first_];
    absl::StatusOr<ScoreRow> row = ScoredRow(call_.rules, slot.document, loss);
    slot.is_ready = row.ok();
    slot.error = row.status();
    if (row.ok()) slot.row = *std::move(row);
  }
  Wake();
}

void DocumentStream::Write() {
  response_.Clear();
  std::vector<ScoreRow> rows;
  {
    absl::MutexLock lock(&mutex_);
    while (!slots_.empty() && slots_.front().is_ready &&
           rows.size() < kMaxRowsOfMessage) {
      rows.push_back(std::move(slots_.front().row));
      bytes_ -= slots_.front().bytes;
      scored_tokens_ += rows.back().loss.num_tokens;
      slots_.pop_front();
      ++first_;
    }
    next_ = std::max(next_, first_);
  }
  for (const ScoreRow& row : rows) {
    terms_.metrics.RecordStreamedRow(row);
    WriteRow(row, response_.add_rows());
  }
  StartWrite(&response_);
}

void DocumentStream::Close() {
  absl::Status status;
  std::shared_ptr<void> counted;
  std::shared_ptr<void> place;
  std::deque<Slot> slots;
  int64_t scored_tokens = 0;
  {
    absl::MutexLock lock(&mutex_);
    status = status_;
    counted = std::move(counted_);
    place = std::move(place_);
    slots = std::move(slots_);
    scored_tokens = scored_tokens_;
  }
  EndCall(terms_.frontend, arrival_, status, /*usage=*/nullptr, scored_tokens);
  place.reset();
  counted.reset();
  Finish(ToGrpcStatus(status));
}

void DocumentStream::Fail(absl::Status status) {
  {
    absl::MutexLock lock(&mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  Wake();
}

void DocumentStream::OnReadDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    has_message_ = ok;
    ended_ = !ok;
    if (!ok && !begun_ && status_.ok()) {
      status_ = InvalidField("terms", "are missing: the stream has no message");
    }
  }
  Wake();
}

void DocumentStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && status_.ok()) status_ = LeftError();
  }
  Wake();
}

void DocumentStream::OnCancel() { Fail(LeftError()); }

void DocumentStream::OnDone() {
  const std::shared_ptr<DocumentStream> last = std::move(self_);
}

}  // namespace headwise
