// The SHA-256 of the served model, computed where nobody waits for it.

#ifndef HEADWISE_SERVER_FRONTENDS_MODEL_DIGEST_H_
#define HEADWISE_SERVER_FRONTENDS_MODEL_DIGEST_H_

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/model.h"

namespace headwise {

// Thread-safe. Reading a large model takes minutes, so the first Get starts a
// thread for it; there is never more than one.
class ModelDigest {
 public:
  // `model` must outlive it. `known`: its digest, or empty.
  explicit ModelDigest(const Model& model, std::string known = "")
      : model_(model), known_(!known.empty()), sha256_(std::move(known)) {}
  // Waits for the thread.
  ~ModelDigest();

  // Calls `done` once: on this thread if the digest is known, else on the own
  // one. Those that wait are bounded by the calls that gRPC admits.
  using Done = std::function<void(const std::string& sha256)>;
  void Get(Done done);
  // Waits for it, minutes for a large model: not on a thread that others need.
  std::string Await();

 private:
  void Compute();

  const Model& model_;
  absl::Mutex mutex_;
  bool known_ ABSL_GUARDED_BY(mutex_);
  std::string sha256_ ABSL_GUARDED_BY(mutex_);  // once known
  std::vector<Done> waiting_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_MODEL_DIGEST_H_
