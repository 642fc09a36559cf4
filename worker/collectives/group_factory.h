// Forms the group of ranks that serve one model together.
//
// Processes form a group in two phases, so that whoever brings them together
// (the coordinator) carries opaque strings and nothing else:
//
//   1. every rank calls Prepare and hands out its endpoint();
//   2. every rank calls Join with the endpoints of all ranks.
//
// Phase 2 may start only when phase 1 has ended everywhere. An attempt that
// failed on one rank has failed on all: start again under a new epoch.

#ifndef HEADWISE_WORKER_COLLECTIVES_GROUP_FACTORY_H_
#define HEADWISE_WORKER_COLLECTIVES_GROUP_FACTORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/collectives/group.h"
#include "worker/collectives/group_options.h"

namespace headwise {

enum class GroupKind {
  kSharedMemory,  // processes of one host whose HostId() are equal
  kGloo,          // processes anywhere, over TCP
  kNccl,          // one GPU a rank, anywhere
};

struct GroupSpec {
  GroupKind kind = GroupKind::kSharedMemory;
  int rank = 0;                   // 0 .. world_size - 1
  int world_size = 1;             // 1 .. kMaxWorldSize
  uint64_t membership_epoch = 0;  // equal on all ranks
  GroupOptions options = {};
  absl::Duration join_timeout = absl::Seconds(10);  // of Join, > 0
  // Gloo only: address or name of an interface of this host that all peers can
  // reach. Loopback serves tests and groups of one host.
  std::string bind_address = "127.0.0.1";
};

// Not thread-safe. Dropped before Join, it leaves nothing behind.
class PendingGroup {
 public:
  // InvalidArgument for a spec outside the ranges above or an address that is
  // no interface of this host; ResourceExhausted or Unavailable if the system
  // gives no memory or no socket; Unimplemented for kNccl, which needs a GPU
  // (PrepareNcclGroup).
  static absl::StatusOr<std::unique_ptr<PendingGroup>> Prepare(
      const GroupSpec& spec);
  virtual ~PendingGroup() = default;

  // Printable ASCII, at most 64 KiB; valid as long as this object.
  virtual const std::string& endpoint() const = 0;

  // `endpoints` of all ranks, by rank, ours included. Blocks until every rank
  // has joined. InvalidArgument for a malformed endpoint, FailedPrecondition
  // for one of another kind, rank, world size, epoch or host, DeadlineExceeded
  // naming the ranks that did not come, Unavailable at once for one that is
  // seen to have died. May be called once.
  virtual absl::StatusOr<std::unique_ptr<Group>> Join(
      absl::Span<const std::string> endpoints) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GROUP_FACTORY_H_
