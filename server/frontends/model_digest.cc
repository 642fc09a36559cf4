#include "server/frontends/model_digest.h"

#include <utility>

#include "absl/synchronization/notification.h"

namespace headwise {

ModelDigest::~ModelDigest() {
  std::thread thread;
  {
    absl::MutexLock lock(&mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void ModelDigest::Get(Done done) {
  std::string sha256;
  {
    absl::MutexLock lock(&mutex_);
    if (!known_) {
      waiting_.push_back(std::move(done));
      if (!thread_.joinable()) {
        thread_ = std::thread([this] { Compute(); });
      }
      return;
    }
    sha256 = sha256_;
  }
  done(sha256);
}

std::string ModelDigest::Await() {
  std::string sha256;
  absl::Notification known;
  Get([&](const std::string& digest) {
    sha256 = digest;
    known.Notify();
  });
  known.WaitForNotification();
  return sha256;
}

void ModelDigest::Compute() {
  const std::string& sha256 = model_.Sha256();
  std::vector<Done> waiting;
  {
    absl::MutexLock lock(&mutex_);
    known_ = true;
    sha256_ = sha256;
    waiting.swap(waiting_);
  }
  for (const Done& done : waiting) done(sha256);
}

}  // namespace headwise
