#include "server/frontends/upload_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

absl::Status CheckHash(const std::string& sha256,
                       absl::Span<const uint8_t> bytes) {
  if (sha256.empty()) return absl::OkStatus();
  const Sha256Digest digest = Sha256Of(bytes);
  if (sha256.size() == digest.size() &&
      std::equal(digest.begin(), digest.end(),
                 reinterpret_cast<const uint8_t*>(sha256.data()))) {
    return absl::OkStatus();
  }
  return InvalidField(
      "sha256", absl::StrCat("is not that of the chunk, ", Sha256Hex(digest)));
}

}  // namespace

class UploadStream::Sink final : public RequestSink {
 public:
  explicit Sink(std::shared_ptr<UploadStream> stream)
      : stream_(std::move(stream)) {}
  void OnPrefill(int64_t processed, int64_t) override {
    stream_->OnPrefill(processed);
  }
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    stream_->OnFinished(status);
  }

 private:
  const std::shared_ptr<UploadStream> stream_;
};

UploadStream::UploadStream(const UploadTerms& terms, Arrival arrival)
    : terms_(terms), arrival_(std::move(arrival)) {}

UploadStream* UploadStream::Start(const UploadTerms& terms, Arrival arrival,
                                  const absl::Status& taken) {
  std::shared_ptr<UploadStream> stream(
      new UploadStream(terms, std::move(arrival)));
  stream->self_ = stream;
  stream->counted_ = terms.frontend.open_calls.Count();
  {
    absl::MutexLock lock(&stream->mutex_);
    stream->status_ = stream->counted_ == nullptr ? DrainingError() : taken;
  }
  stream->Pump();
  return stream.get();
}

UploadStream::Action UploadStream::NextLocked() {
  if (closed_) return Action::kNone;
  if (running_ && run_id_.has_value() && run_end_.has_value()) {
    return Action::kSettle;
  }
  if (!status_.ok()) {
    if (running_) {
      if (!run_id_.has_value() || cancelled_run_) return Action::kNone;
      cancelled_run_ = true;
      return Action::kCancelRun;
    }
    if (writing_) return Action::kNone;
    closed_ = true;
    return Action::kClose;
  }
  const auto num_waiting = static_cast<int64_t>(waiting_.size());
  if (!running_ && num_waiting > 0 &&
      (ended_ || num_waiting >= terms_.run_tokens)) {
    running_ = true;
    return Action::kRun;
  }
  // Whether or not the client reads what we write.
  if (!reading_ && !ended_ && num_waiting < 4 * terms_.run_tokens) {
    reading_ = true;
    return Action::kRead;
  }
  const bool done = ended_ && !running_ && num_waiting == 0;
  if (done && !returned_) {
    has_news_ = true;
    return Action::kReturn;  // before the client hears of it
  }
  if (writing_) return Action::kNone;
  if (has_news_ && session_.has_value()) {
    has_news_ = false;
    writing_ = true;
    progress_.set_received_tokens(session_->num_tokens + run_tokens_ +
                                  num_waiting);
    progress_.set_processed_tokens(session_->num_tokens + run_done_);
    WritePromptSession(*session_, session_->last_use,
                       progress_.mutable_session());
    return Action::kWrite;
  }
  if (done) {
    closed_ = true;
    return Action::kClose;
  }
  return Action::kNone;
}

void UploadStream::Pump() {
  {
    absl::MutexLock lock(&mutex_);
    if (is_pumping_) return;
    is_pumping_ = true;
  }
  while (true) {
    Action action = Action::kNone;
    uint64_t run_id = 0;
    {
      absl::MutexLock lock(&mutex_);
      action = NextLocked();
      is_pumping_ = action != Action::kNone && action != Action::kClose;
      run_id = run_id_.value_or(0);
    }
    switch (action) {
      case Action::kNone:
        return;
      case Action::kRead:
        StartRead(&message_);
        break;
      case Action::kWrite:
        StartWrite(&progress_);
        break;
      case Action::kRun:
        Run();
        break;
      case Action::kCancelRun:
        terms_.frontend.engine.Cancel(run_id);
        break;
      case Action::kSettle:
        Settle();
        break;
      case Action::kReturn:
        ReturnSession();
        break;
      case Action::kClose:
        return Close();
    }
  }
}

void UploadStream::Run() {
  EngineRequest request = {.request_id = arrival_.request_id,
                           .tenant = arrival_.tenant,
                           .kind = WorkKind::kPrefix,
                           .deadline = arrival_.deadline,
                           .may_evict = true};
  {
    absl::MutexLock lock(&mutex_);
    // No more than that: a run is lost as a whole if its caller leaves.
    const auto end = waiting_.begin() +
                     std::min<int64_t>(static_cast<int64_t>(waiting_.size()),
                                       terms_.run_tokens);
    request.prompt.assign(waiting_.begin(), end);
    waiting_.erase(waiting_.begin(), end);
    request.plan = session_->plan.plan;
    request.fork_from = session_->prefix_id;
    run_prompt_ = request.prompt;
    run_tokens_ = static_cast<int64_t>(request.prompt.size());
    run_done_ = 0;
  }
  const absl::StatusOr<uint64_t> id = terms_.frontend.engine.Submit(
      std::move(request), std::make_shared<Sink>(self_));
  absl::MutexLock lock(&mutex_);
  run_id_ = id.value_or(0);
  if (!id.ok()) run_end_ = id.status();
}

// Before the client hears that the session has them.
void UploadStream::BookRun() {
  PromptSession session;
  std::vector<int32_t> tokens;
  {
    absl::MutexLock lock(&mutex_);
    if (!run_end_->ok()) return;
    session = *session_;
    tokens.swap(run_prompt_);
  }
  const bool is_booked = terms_.sessions.Book(session, tokens);
  absl::MutexLock lock(&mutex_);
  session_->is_booked = is_booked;
}

void UploadStream::Settle() {
  BookRun();
  uint64_t released = 0;
  std::string lost_id;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Status end = *std::exchange(run_end_, std::nullopt);
    const uint64_t id = *std::exchange(run_id_, std::nullopt);
    if (end.ok()) {
      released = std::exchange(session_->prefix_id, id);
      session_->num_tokens += run_tokens_;
      has_news_ = true;
    } else if (status_.ok()) {
      status_ = end;
    }
    running_ = cancelled_run_ = false;
    run_tokens_ = run_done_ = 0;
    if (absl::IsNotFound(end)) lost_id = session_->id;
  }
  if (!lost_id.empty()) {
    const absl::Status lost = terms_.sessions.Forget(lost_id);
    absl::MutexLock lock(&mutex_);
    status_ = lost;
  }
  if (released != 0) terms_.frontend.engine.Release(released);
}

void UploadStream::ReturnSession() {
  PromptSession session;
  {
    absl::MutexLock lock(&mutex_);
    if (!session_.has_value() || std::exchange(returned_, true)) return;
    session_->state = PromptSession::State::kReady;
    session = *session_;
  }
  terms_.sessions.Return(session);
}

void UploadStream::Close() {
  ReturnSession();
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    status = status_;
  }
  EndCall(terms_.frontend, arrival_, status);
  counted_.reset();
  Finish(ToGrpcStatus(status));
}

void UploadStream::OnReadDone(bool ok) {
  if (!ok) {
    {
      absl::MutexLock lock(&mutex_);
      reading_ = false;
      ended_ = true;
      if (status_.ok() && !session_.has_value()) {
        status_ = InvalidField("chunk", "the stream has no message");
      }
    }
    return Pump();
  }
  const absl::Status taken =
      terms_.texts.Run(static_cast<int64_t>(message_.text().size()),
                       [self = self_] { self->Take(); });
  if (!taken.ok()) Fail(taken);
}

void UploadStream::Take() {
  const absl::Status taken = TakeMessage();
  message_.Clear();
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (status_.ok()) status_ = taken;
    has_news_ = true;
  }
  Pump();
}

absl::Status UploadStream::BeginLocked() {
  HEADWISE_RETURN_IF_ERROR(
      CheckModelName(message_.model(), terms_.frontend.model));
  if (message_.session_id().empty()) {
    HEADWISE_ASSIGN_OR_RETURN(StoredPlan plan,
                              terms_.frontend.plans.Find(message_.plan()));
    HEADWISE_ASSIGN_OR_RETURN(
        session_, terms_.sessions.Open(arrival_.tenant, std::move(plan)));
    return absl::OkStatus();
  }
  if (!message_.plan().empty()) {
    return InvalidField("plan", "a session keeps the plan that it began with");
  }
  HEADWISE_RETURN_IF_ERROR(terms_.sessions.CheckRoom());
  HEADWISE_ASSIGN_OR_RETURN(
      session_, terms_.sessions.Claim(arrival_.tenant, message_.session_id(),
                                      PromptSession::State::kReady));
  return absl::OkStatus();
}

absl::Status UploadStream::CheckTotalLocked(int64_t more) const {
  const int64_t longest = session_->plan.longest_context_len;
  if (more <= longest - ReceivedLocked()) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(
      "the session would have ", ReceivedLocked() + more, " tokens; at most ",
      longest, " fit into the context of its plan"));
}

// The engine's thread does not wait while a text is made tokens.
absl::Status UploadStream::TakeMessage() {
  bool is_first = false;
  {
    absl::MutexLock lock(&mutex_);
    HEADWISE_RETURN_IF_ERROR(status_);  // nobody would return the session
    if (!session_.has_value()) {
      HEADWISE_RETURN_IF_ERROR(BeginLocked());
    } else if (!message_.session_id().empty() || !message_.model().empty() ||
               !message_.plan().empty()) {
      return InvalidField(
          "session_id", "session_id, model and plan are of the first message");
    }
    if (message_.has_offset() && message_.offset() != ReceivedLocked()) {
      return InvalidField(
          "offset", absl::StrCat("is ", message_.offset(), "; the session has ",
                                 ReceivedLocked(), " tokens"));
    }
    is_first = ReceivedLocked() == 0;
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                            ParseChunk(is_first));
  absl::MutexLock lock(&mutex_);
  HEADWISE_RETURN_IF_ERROR(
      CheckTotalLocked(static_cast<int64_t>(tokens.size())));
  waiting_.insert(waiting_.end(), tokens.begin(), tokens.end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> UploadStream::ParseChunk(
    bool is_first) const {
  const Tokenizer& tokenizer = *terms_.frontend.model.tokenizer;
  if (message_.has_text()) {
    const std::string& text = message_.text();
    HEADWISE_RETURN_IF_ERROR(
        CheckTextBytes("text", static_cast<int64_t>(text.size())));
    HEADWISE_RETURN_IF_ERROR(CheckHash(
        message_.sha256(),
        {reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
    return tokenizer.Encode(text,
                            {.add_special = is_first, .parse_special = true});
  }
  const auto& ids = message_.tokens().ids();
  const auto count = static_cast<size_t>(ids.size());
  HEADWISE_RETURN_IF_ERROR(
      CheckTokenIds("tokens.ids", {ids.data(), count}, tokenizer.vocab_size()));
  HEADWISE_RETURN_IF_ERROR(CheckHash(
      message_.sha256(),
      {reinterpret_cast<const uint8_t*>(ids.data()), count * sizeof(int32_t)}));
  return std::vector<int32_t>(ids.begin(), ids.end());
}

void UploadStream::Fail(absl::Status status) {
  {
    absl::MutexLock lock(&mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  Pump();
}

void UploadStream::OnPrefill(int64_t processed) {
  {
    absl::MutexLock lock(&mutex_);
    run_done_ = processed;
    has_news_ = true;
  }
  Pump();
}

void UploadStream::OnFinished(const absl::Status& status) {
  {
    absl::MutexLock lock(&mutex_);
    run_end_ = status;
  }
  Pump();
}

void UploadStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && status_.ok()) {
      status_ = absl::CancelledError("the client has left");
    }
  }
  Pump();
}

void UploadStream::OnCancel() {
  Fail(absl::CancelledError("the client has left"));
}

void UploadStream::OnDone() {
  const std::shared_ptr<UploadStream> last = std::move(self_);
}

}  // namespace headwise
