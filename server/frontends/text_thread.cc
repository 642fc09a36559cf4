#include "server/frontends/text_thread.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {

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
    return absl::ResourceExhaustedError(absl::StrCat(
        waiting_.size(), " texts of more than ", kMaxInlineTextBytes,
        " bytes wait to be made tokens, at most ", kMaxWaitingTexts));
  }
  waiting_.push_back(std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { Work(); });
  return absl::OkStatus();
}

void TextThread::Work() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ending_ || !waiting_.empty();
  };
  while (true) {
    std::function<void()> job;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(&has_work));
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    job();
  }
}

}  // namespace headwise
