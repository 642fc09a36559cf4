#include "server/frontends/response_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_facts.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

int64_t BufferedBytes(const v1::GenerateResponse& message) {
  return static_cast<int64_t>(message.ByteSizeLong()) + kMessageOverheadBytes;
}

}  // namespace

std::shared_ptr<ResponseStream> ResponseStream::Create() {
  std::shared_ptr<ResponseStream> stream(new ResponseStream());
  stream->self_ = stream;
  return stream;
}

void ResponseStream::SetCancel(std::function<void()> cancel) {
  cancel_.Set(std::move(cancel));
}

bool ResponseStream::Write(v1::GenerateResponse message) {
  const int64_t bytes = BufferedBytes(message);
  bool accepted = false;
  bool overflow = false;
  {
    absl::MutexLock lock(&mutex_);
    if (!broken_ && !closed_) {
      if (pending_bytes_ + bytes <= kMaxBufferedBytes) {
        pending_.push_back(std::move(message));
        pending_bytes_ += bytes;
        accepted = true;
      } else {
        overflow = overflow_ = broken_ = true;
        pending_.clear();
      }
    }
  }
  if (overflow) cancel_.Fire();
  if (accepted) Pump();
  return accepted;
}

absl::Status ResponseStream::Close(absl::Status status) {
  {
    absl::MutexLock lock(&mutex_);
    HEADWISE_CHECK(!closed_);
    closed_ = true;
    if (overflow_) {
      status = WithFacts(absl::ResourceExhaustedError(absl::StrCat(
                             "the reader of the stream is too slow: more than ",
                             kMaxBufferedBytes, " bytes waited for it")),
                         {.reason = "READER_TOO_SLOW"});
    }
    final_status_ = status;
  }
  Pump();
  return status;
}

// Starts the next operation unless one is under way. Whoever sets writing_ or
// finished_ is alone in acting on it after the lock is released.
void ResponseStream::Pump() {
  absl::Status final_status;
  bool finish = false;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    if (!pending_.empty()) {
      in_flight_ = std::move(pending_.front());
      pending_.pop_front();
      pending_bytes_ -= BufferedBytes(in_flight_);
      writing_ = true;
    } else if (closed_) {
      finished_ = finish = true;
      final_status = final_status_;
    } else {
      return;
    }
  }
  if (finish) {
    Finish(ToGrpcStatus(final_status));
  } else {
    StartWrite(&in_flight_);
  }
}

void ResponseStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      broken_ = true;
      pending_.clear();
    }
  }
  if (!ok) cancel_.Fire();
  Pump();
}

void ResponseStream::OnCancel() { cancel_.Fire(); }

void ResponseStream::OnDone() {
  const std::shared_ptr<ResponseStream> last = std::move(self_);
}

}  // namespace headwise
