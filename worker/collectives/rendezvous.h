// Where the ranks of a group find each other's endpoints.

#ifndef HEADWISE_WORKER_COLLECTIVES_RENDEZVOUS_H_
#define HEADWISE_WORKER_COLLECTIVES_RENDEZVOUS_H_

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "worker/collectives/group.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

// Thread-safe.
class RendezvousStore {
 public:
  virtual ~RendezvousStore() = default;
  // AlreadyExists if the key has a value.
  virtual absl::Status Set(absl::string_view key, absl::string_view value) = 0;
  // Waits until the key has a value; DeadlineExceeded names the key. The
  // deadline is of Clock::Monotonic().
  virtual absl::StatusOr<std::string> Get(absl::string_view key,
                                          absl::Time deadline) = 0;
};

// For ranks in one process.
class InMemoryRendezvousStore final : public RendezvousStore {
 public:
  absl::Status Set(absl::string_view key, absl::string_view value) override;
  absl::StatusOr<std::string> Get(absl::string_view key,
                                  absl::Time deadline) override;

 private:
  absl::Mutex mutex_;
  std::map<std::string, std::string, std::less<>> values_
      ABSL_GUARDED_BY(mutex_);
};

// Both phases of group_factory.h over a store that all ranks of `spec` reach.
absl::StatusOr<std::unique_ptr<Group>> FormGroup(const GroupSpec& spec,
                                                 RendezvousStore& store);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_RENDEZVOUS_H_
