// What a group of GPUs asks of NCCL and CUDA. The one edge to both: whoever
// implements it decides what happens, so a test can let any call fail.

#ifndef HEADWISE_WORKER_COLLECTIVES_NCCL_COMMUNICATOR_H_
#define HEADWISE_WORKER_COLLECTIVES_NCCL_COMMUNICATOR_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace headwise {

// ncclUniqueId: by which the ranks of one group find each other.
using NcclId = std::array<uint8_t, 128>;

enum class NcclType { kInt64, kFloat };

// One rank's communicator, with the device, the stream and the staging memory
// that it uses. Calls from one thread at a time.
//
// What follows Init only enqueues, in the order of the calls; a place is a byte
// of the staging memory, which is as large on the device as on the host. Errors
// are Unavailable for what another rank, a network or a lost GPU may be guilty
// of, else Internal; each names the call. After an error nothing but Abort may
// be called.
class NcclCommunicator {
 public:
  // Ends at once what still runs, as Abort does.
  virtual ~NcclCommunicator() = default;

  // Of the library that runs, as NCCL_VERSION_CODE: 22809 is 2.28.9.
  virtual absl::StatusOr<int> Version() = 0;
  virtual absl::StatusOr<NcclId> CreateId() = 0;

  // Begins to meet the other ranks; once per object.
  virtual absl::Status Init(const NcclId& id, int rank, int world_size) = 0;

  // The host's side, pinned. What lies there must not be touched between an
  // enqueued copy and the Poll that says that all has ended.
  virtual absl::Span<uint8_t> staging() = 0;
  virtual absl::Status ToDevice(int64_t begin, int64_t num_bytes) = 0;
  virtual absl::Status ToHost(int64_t begin, int64_t num_bytes) = 0;

  // Sums over ranks, in place; of int64 modulo 2^64.
  virtual absl::Status AllReduceSum(NcclType type, int64_t begin,
                                    int64_t num_values) = 0;
  // The same for int64 in the device's memory outside the staging memory.
  virtual absl::Status SumOnDevice(int64_t* values, int64_t num_values) = 0;
  // The bytes of rank r go to `to` + r * num_bytes.
  virtual absl::Status AllGather(int64_t begin, int64_t num_bytes,
                                 int64_t to) = 0;
  virtual absl::Status Broadcast(int64_t begin, int64_t num_bytes,
                                 int root) = 0;
  virtual absl::Status Send(int64_t begin, int64_t num_bytes, int to) = 0;
  virtual absl::Status Receive(int64_t begin, int64_t num_bytes, int from) = 0;

  // Whether all that was begun has ended; an error if some of it has failed.
  virtual absl::StatusOr<bool> Poll() = 0;

  // Ends the communicator and whatever waits in it. Peers notice late or never.
  virtual void Abort() = 0;
};

// Opens a communicator with so many bytes of staging memory.
using NcclOpener =
    std::function<absl::StatusOr<std::unique_ptr<NcclCommunicator>>(
        int64_t staging_bytes)>;

// What a worker tells of the GPU that it is on, before any group.
struct NcclOffer {
  std::string gpu_id;  // of the GPU as a whole, equal in all containers
  int version = 0;     // of the library that runs, as NCCL_VERSION_CODE
};

// For CUDA's GPU number `device`. Unimplemented in a build without NCCL.
absl::StatusOr<NcclOffer> OfferNccl(int device);

// On CUDA's GPU number `device`; takes `staging_bytes` > 0 of it and as many of
// pinned memory. Unimplemented in a build without NCCL;
// FailedPrecondition if there is no driver; InvalidArgument naming how many
// GPUs there are if this one is not; ResourceExhausted naming the bytes.
absl::StatusOr<std::unique_ptr<NcclCommunicator>> OpenNcclCommunicator(
    int device, int64_t staging_bytes);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_NCCL_COMMUNICATOR_H_
