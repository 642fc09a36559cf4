// One rank's part in a Gloo group: exchanging bytes with peers, failing.

#ifndef HEADWISE_WORKER_COLLECTIVES_GLOO_MEMBER_H_
#define HEADWISE_WORKER_COLLECTIVES_GLOO_MEMBER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/collectives/gloo_transport.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

// Part of an exchange: bytes to or from one peer. With them goes their CRC-32C,
// so that what flips on its way ends the group and is never added.
struct Transfer {
  int peer = 0;
  const uint8_t* send = nullptr;  // one of the two is set
  uint8_t* receive = nullptr;
  int64_t num_bytes = 0;
};

// Fail may be called from any thread; all else from one thread at a time.
class GlooMember {
 public:
  // Requires that all connections of `transport` are made.
  GlooMember(const GroupSpec& spec, std::shared_ptr<GlooTransport> transport);

  const GroupSpec& spec() const { return spec_; }

  // Starts the clock of a call. Fails if the group is dead.
  absl::Status StartCall();

  // Runs all transfers at once and returns when all are complete. Gloo matches
  // a send with the receive of the same `slot`; transfers of no bytes need no
  // match.
  absl::Status Exchange(absl::Span<const Transfer> transfers, uint64_t slot);

  // Declares the group dead, wakes the calling thread and closes all
  // connections, so that peers notice. Returns the reason of the first failure,
  // which later calls get too.
  absl::Status Fail(absl::Status reason);

 private:
  struct Posted {
    int peer = 0;
    bool is_receive = false;
    std::unique_ptr<gloo::transport::UnboundBuffer> buffer;
    const Transfer* transfer = nullptr;
    uint8_t* wire = nullptr;  // the transfer's bytes, then their checksum
  };

  absl::Status Post(const Transfer& transfer, uint64_t slot, uint8_t* wire,
                    std::deque<Posted>& posted);
  // Hands on what has come; Internal if it is not what was sent.
  absl::Status TakeReceived(const Posted& posted) const;
  absl::Status Await(std::deque<Posted>& posted, size_t index);
  absl::Status ErrorOf(absl::string_view what, std::deque<Posted>& posted,
                       size_t index);
  static bool IsDone(Posted& posted);

  const GroupSpec spec_;
  const std::shared_ptr<GlooTransport> transport_;
  // Calling thread only.
  absl::Time deadline_;        // of the present call
  std::vector<uint8_t> wire_;  // of the present exchange

  absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GLOO_MEMBER_H_
