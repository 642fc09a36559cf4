#include "server/frontends/keyed_answer.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/build_info.h"

namespace headwise {

KeyedAnswer::KeyedAnswer(std::string fingerprint, std::vector<int32_t> received,
                         absl::Duration linger)
    : fingerprint_(std::move(fingerprint)),
      linger_(linger),
      num_skipped_(static_cast<int64_t>(received.size())) {}

void KeyedAnswer::SetCancel(std::function<void()> cancel) {
  cancel_.Set(std::move(cancel));
}

KeyedAnswer::Joined KeyedAnswer::Join(Reader reader) {
  const std::shared_ptr<ResponseStream> stream = reader.stream;
  bool has_ended = false;
  {
    absl::MutexLock lock(&mutex_);
    if (is_stopped_ || (end_.has_value() && !end_->ok())) return Joined::kOver;
    if (is_too_long_ || reader.num_received < num_skipped_) {
      return Joined::kTooFar;
    }
    Delivery missed;
    missed.streams = {stream};
    missed.messages = MissedLocked(reader.num_received);
    missed.end = end_;
    missed.on_ends = {reader.on_end};
    outbox_.push_back(std::move(missed));
    has_ended = end_.has_value();
    if (!has_ended) {
      readers_.push_back(std::move(reader));
      alarm_ = nullptr;
    }
  }
  Deliver();
  if (!has_ended) {
    stream->SetCancel([self = shared_from_this(), leaving = stream.get()] {
      self->Leave(leaving);
    });
  }
  return Joined::kYes;
}

void KeyedAnswer::Deliver() {
  {
    absl::MutexLock lock(&mutex_);
    if (is_delivering_) return;
    is_delivering_ = true;
  }
  while (true) {
    Delivery next;
    {
      absl::MutexLock lock(&mutex_);
      if (outbox_.empty()) {
        is_delivering_ = false;
        return;
      }
      next = std::move(outbox_.front());
      outbox_.pop_front();
    }
    for (size_t i = 0; i < next.streams.size(); ++i) {
      for (const v1::GenerateResponse& message : next.messages) {
        next.streams[i]->Write(message);
      }
      if (!next.end.has_value()) continue;
      const absl::Status told = next.streams[i]->Close(*next.end);
      if (next.on_ends[i]) next.on_ends[i](told);
    }
  }
}

std::vector<v1::GenerateResponse> KeyedAnswer::MissedLocked(
    int64_t num_received) const {
  std::vector<v1::GenerateResponse> missed;
  const auto num_kept = static_cast<int64_t>(text_ends_.size());
  const int64_t first = std::min(num_received - num_skipped_, num_kept);
  const size_t text_begin =
      first == 0 ? 0 : text_ends_[static_cast<size_t>(first) - 1];
  const size_t text_end = text_ends_.empty() ? 0 : text_ends_.back();
  if (first < num_kept) {
    v1::GenerateResponse& message = missed.emplace_back();
    message.set_numerics(OwnBuild().numerics);  // it was made here
    v1::GeneratedText& rest = *message.mutable_generated();
    rest.set_text(kept_.text().substr(text_begin, text_end - text_begin));
    for (auto i = static_cast<int>(first); i < kept_.tokens_size(); ++i) {
      *rest.add_tokens() = kept_.tokens(i);
      if (i < kept_.top_logprobs_size()) {
        *rest.add_top_logprobs() = kept_.top_logprobs(i);
      }
    }
  }
  // Text without tokens, which comes last of all, as it came.
  if (text_end < kept_.text().size()) {
    missed.emplace_back().mutable_generated()->set_text(
        kept_.text().substr(text_end));
  }
  if (finished_.has_value()) {
    *missed.emplace_back().mutable_finished() = *finished_;
  }
  return missed;
}

void KeyedAnswer::Keep(const v1::GenerateResponse& message) {
  if (message.has_finished()) finished_ = message.finished();
  if (!message.has_generated() || is_too_long_) return;
  kept_bytes_ +=
      static_cast<int64_t>(message.ByteSizeLong()) + kMessageOverheadBytes;
  if (kept_bytes_ > kMaxKeyedAnswerBytes) {
    is_too_long_ = true;
    kept_bytes_ = 0;
    kept_.Clear();
    text_ends_.clear();
    return;
  }
  kept_.mutable_text()->append(message.generated().text());
  for (const v1::TokenLogprob& token : message.generated().tokens()) {
    *kept_.add_tokens() = token;
    text_ends_.push_back(kept_.text().size());
  }
  kept_.mutable_top_logprobs()->MergeFrom(message.generated().top_logprobs());
}

bool KeyedAnswer::Write(v1::GenerateResponse message) {
  bool has_readers = false;
  {
    absl::MutexLock lock(&mutex_);
    const int64_t first =
        num_skipped_ + static_cast<int64_t>(text_ends_.size());
    const bool has_tokens = message.generated().tokens_size() > 0;
    Keep(message);
    Delivery delivery;
    for (const Reader& reader : readers_) {
      // One who was further at another coordinator has it already.
      if (has_tokens && !is_too_long_ && first < reader.num_received) continue;
      delivery.streams.push_back(reader.stream);
    }
    has_readers = !readers_.empty();
    delivery.messages.push_back(std::move(message));
    outbox_.push_back(std::move(delivery));
  }
  Deliver();
  return has_readers;
}

absl::Status KeyedAnswer::Close(absl::Status status) {
  {
    absl::MutexLock lock(&mutex_);
    end_ = status;
    Delivery last;
    last.end = status;
    for (const Reader& reader : readers_) {
      last.streams.push_back(reader.stream);
      last.on_ends.push_back(reader.on_end);
    }
    readers_.clear();
    outbox_.push_back(std::move(last));
    alarm_ = nullptr;
  }
  Deliver();
  return status;
}

void KeyedAnswer::Leave(const ResponseStream* stream) {
  Reader left;
  bool is_empty = false;
  bool lingers = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = std::find_if(
        readers_.begin(), readers_.end(),
        [&](const Reader& reader) { return reader.stream.get() == stream; });
    if (found == readers_.end()) return;  // it has been told the end
    left = std::move(*found);
    readers_.erase(found);
    is_empty = readers_.empty();
    lingers = is_empty && !stop_lingering_ && !is_too_long_;
    if (lingers) {
      alarm_ = std::make_unique<grpc::Alarm>();
      alarm_->Set(absl::ToChronoTime(absl::Now() + linger_),
                  [weak = weak_from_this()](bool is_over) {
                    const auto self = weak.lock();
                    if (self != nullptr && is_over) self->StopUnread();
                  });
    }
  }
  const absl::Status told =
      left.stream->Close(absl::CancelledError("cancelled by the client"));
  if (left.on_end) left.on_end(told);
  if (is_empty && !lingers) StopUnread();
}

void KeyedAnswer::StopLingering() {
  {
    absl::MutexLock lock(&mutex_);
    stop_lingering_ = true;
    alarm_ = nullptr;
  }
  StopUnread();
}

void KeyedAnswer::StopUnread() {
  {
    absl::MutexLock lock(&mutex_);
    if (!readers_.empty() || end_.has_value()) return;
    is_stopped_ = true;
  }
  cancel_.Fire();
}

bool KeyedAnswer::has_ended() const {
  absl::MutexLock lock(&mutex_);
  return end_.has_value();
}

bool KeyedAnswer::has_failed() const {
  absl::MutexLock lock(&mutex_);
  return is_stopped_ || (end_.has_value() && !end_->ok());
}

int64_t KeyedAnswer::kept_bytes() const {
  absl::MutexLock lock(&mutex_);
  return kept_bytes_;
}

}  // namespace headwise
