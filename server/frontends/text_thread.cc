#include "server/frontends/text_thread.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/pulse.h"

namespace headwise {
namespace {

// Of one text, which takes up to 4 s on an idle machine.
constexpr absl::Duration kTextAllowance = absl::Minutes(1);

}  // namespace

TextThread::~TextThread() {
  std::thread thread;
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

absl::Status TextThread::Run(int64_t text_bytes, std::function<void()> job) {
  if (text_bytes <= kMaxInlineTextBytes) {
    job();
    return absl::OkStatus();
  }
  absl::MutexLock lock(&mutex_);
  if (waiting_.size() >= kMaxWaitingTexts) {
    return WithFacts(
        absl::ResourceExhaustedError(absl::StrCat(
            waiting_.size(), " texts of more than ", kMaxInlineTextBytes,
            " bytes wait to be made tokens, at most ", kMaxWaitingTexts)),
        {.reason = "TEXT_QUEUE_FULL"});
  }
  waiting_.push_back(std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { Work(); });
  return absl::OkStatus();
}

void TextThread::Work() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ending_ || !waiting_.empty();
  };
  ThreadPulse pulse("hw-text");
  while (true) {
    pulse.Beat();
    std::function<void()> job;
    {
      absl::MutexLock lock(&mutex_);
      if (!mutex_.AwaitWithTimeout(absl::Condition(&has_work),
                                   kPulseInterval)) {
        continue;
      }
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    pulse.Beat(kTextAllowance);
    job();
  }
}

}  // namespace headwise
